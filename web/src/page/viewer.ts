/** The scan in three planes with masks over it, one cursor for all of them (NiiVue). */

import { Niivue, NVImage, SLICE_TYPE } from "@niivue/niivue";

/** A colour as three numbers from 0 to 255. */
export type Colour = readonly [number, number, number];

export class Viewer {
  private readonly viewer: Niivue;
  private readonly ready: Promise<unknown>;
  private opacity = 0.5;
  private shown = true;
  private visible: boolean[] = [];
  private maps = 0;

  constructor(canvas: HTMLCanvasElement, onPlace: (text: string) => void) {
    this.viewer = new Niivue({
      dragAndDropEnabled: false,
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.85, 0.3, 0.8],
      crosshairWidth: 0.25,
      show3Dcrosshair: false,
      isColorbar: false,
      isOrientCube: false,
      loadingText: "",
      logLevel: "warn",
    });
    this.viewer.onLocationChange = (place) => onPlace(inWords(place as Place));
    this.ready = this.viewer.attachToCanvas(canvas).then(() => {
      this.viewer.setSliceType(SLICE_TYPE.MULTIPLANAR);
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** Show a scan, without masks. */
  async show(file: File): Promise<void> {
    await this.ready;
    for (const volume of [...this.viewer.volumes].reverse()) this.viewer.removeVolume(volume);
    this.visible = [];
    this.viewer.addVolume(await NVImage.loadFromFile({ file, name: file.name }));
    this.viewer.createOnLocationChange();
  }

  /** Lay a mask of the scan's grid over it. */
  async add(file: File, colour: Colour): Promise<void> {
    const name = `mask-${++this.maps}`;
    const [r, g, b] = colour;
    this.viewer.addColormap(name, { R: [0, r, r], G: [0, g, g], B: [0, b, b], A: [0, 255, 255], I: [0, 128, 255] });
    const image = await NVImage.loadFromFile({
      file, name: file.name, colormap: name, opacity: this.opacity, cal_min: 0, cal_max: 1,
    });
    this.visible.push(true);
    this.viewer.addVolume(image);
    this.apply();
  }

  /** Move the cursor to a place in mm (right, front, up). */
  goTo(mm: [number, number, number]): void {
    this.viewer.scene.crosshairPos = this.viewer.mm2frac(mm);
    this.viewer.drawScene();
    this.viewer.createOnLocationChange();
  }

  /** Remove all masks. */
  clear(): void {
    for (const volume of this.viewer.volumes.slice(1).reverse()) this.viewer.removeVolume(volume);
    this.visible = [];
  }

  setOpacity(value: number): void {
    this.opacity = value;
    this.apply();
  }

  /** All masks on or off. */
  setShown(value: boolean): void {
    this.shown = value;
    this.apply();
  }

  /** One mask on or off. */
  setVisible(number: number, value: boolean): void {
    this.visible[number] = value;
    this.apply();
  }

  private apply(): void {
    this.visible.forEach((on, n) => {
      if (this.viewer.volumes[n + 1]) this.viewer.setOpacity(n + 1, on && this.shown ? this.opacity : 0);
    });
  }

  private key(event: KeyboardEvent): void {
    const steps: Record<string, [number, number, number]> = {
      ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, 0, -1], ArrowUp: [0, 0, 1],
      PageDown: [0, -1, 0], PageUp: [0, 1, 0],
    };
    const step = steps[event.key];
    if (!step || !this.viewer.volumes.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    this.viewer.moveCrosshairInVox(...step);
    this.viewer.createOnLocationChange();
  }
}

interface Place {
  mm: ArrayLike<number>;
  values?: { value: number }[];
}

function inWords({ mm, values }: Place): string {
  const [x, y, z] = Array.from(mm).map((value) => value.toFixed(1));
  const first = values?.[0]?.value;
  return `right ${x}, front ${y}, up ${z} mm${first === undefined ? "" : `; intensity ${Number(first.toPrecision(4))}`}`;
}
