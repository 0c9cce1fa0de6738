"""The page of `score-jax view` in headless Chromium: until it is ready, until a scan is segmented.

    python benchmarks/bench_web.py SCAN --model sci-t2w --out benchmarks/results/web_cpu.json

Needs playwright (extra `test`) and Chromium. Memory is the proportional share of all of Chromium's
processes, looked at every half second. Linux only.
"""

import argparse
import json
import os
import shutil
import threading
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from score_jax import api
from score_jax.benchmark import running

QUIET = 'body[data-busy="no"]'


def children(parent: int) -> list[int]:
    """All processes below `parent`."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            below.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [parent]
    while left:
        own = below.get(left.pop(), [])
        found += own
        left += own
    return found


def share_mb(process: int) -> float:
    """Memory of a process, pages that it shares counted in parts."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def processor_seconds(processes: list[int]) -> float:
    ticks = 0
    for process in processes:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--model", default="sci-t2w")
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    server = api.view(models=[options.model], port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    peak, going = 0.0, threading.Event()
    going.set()

    def watch() -> None:
        nonlocal peak
        while going.wait(0) and going.is_set():
            peak = max(peak, sum(map(share_mb, children(os.getpid()))))
            time.sleep(0.5)

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        ready = []
        for _ in range(3):  # the first fills the browser's caches
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            started = time.perf_counter()
            page.goto(server.url)
            page.wait_for_selector('body[data-ready="yes"]')
            ready.append(round(time.perf_counter() - started, 2))
            if len(ready) < 3:
                page.close()
        threading.Thread(target=watch, daemon=True).start()
        page.set_input_files("#file", str(options.scan))
        page.wait_for_timeout(200)
        page.wait_for_selector(QUIET, timeout=120_000)
        used, started = processor_seconds(children(os.getpid())), time.perf_counter()
        page.click("#run")
        page.wait_for_timeout(200)
        page.wait_for_selector(QUIET, timeout=900_000)
        wall = time.perf_counter() - started
        used = processor_seconds(children(os.getpid())) - used
        said, error = page.inner_text("#status"), page.inner_text("#error")
        if options.screenshot:
            page.screenshot(path=str(options.screenshot))
        version = browser.version
        going.clear()
        browser.close()
    result = {
        "what": "web", "machine": running.machine(), "chromium": version, "model": options.model,
        "scan": options.scan.name, "ready_s": ready, "segmented_s": round(wall, 1),
        "processor_s": round(used, 1), "peak_mb": round(peak), "status": said, "error": error,
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
