/** What the page does before a person does anything: files named to it, and its service worker. */

/** Files named on the command line of `score-jax view`; the word in the page's address asks for them. */
export async function namedFiles(base: string): Promise<{ scans: File[]; masks: File[] }> {
  const none = { scans: [], masks: [] };
  const token = location.hash.slice(1);
  if (!/^[0-9a-f]+$/.test(token)) return none;
  const folder = `${base}open/${token}/`;
  const answer = await fetch(`${folder}list.json`);
  if (!answer.ok) return none;
  const list = (await answer.json()) as { name: string; path: string; role: "scan" | "mask" }[];
  const files = await Promise.all(list.map(async ({ name, path, role }) => {
    const content = await (await fetch(folder + path)).blob();
    return { role, file: new File([content], name) };
  }));
  const of = (role: string) => files.filter((one) => one.role === role).map(({ file }) => file);
  return { scans: of("scan"), masks: of("mask") };
}

/** Let a service worker keep the page; `unused` says whether it may be loaded once more. */
export async function keepOffline(base: string, unused: () => boolean): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register(`${base}sw.js`, { type: "module" });
    await navigator.serviceWorker.ready;
  } catch {
    return; // no such thing here (private window, plain http): the page works without
  }
  // once more through the worker, which isolates the page: threads need that
  if (!self.crossOriginIsolated && unused() && !sessionStorage.getItem("isolated")) {
    sessionStorage.setItem("isolated", "tried");
    location.reload();
  }
}
