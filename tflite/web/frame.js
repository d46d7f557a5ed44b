// The picture on the page, and the square on it that says where the face is.

import { boxOfEyes } from "./chip.js";

const TAP = 8; // pixels on the screen that a finger may slip while it taps
const SHOWN = 1024; // longest side of the picture on the page, in pixels; chips are cut from the unscaled one

/** Shows a picture with a square frame that can be dragged, sized, or set by tapping on both eyes. */
export class Frame {
  constructor(canvas, slider) {
    this.canvas = canvas;
    this.slider = slider;
    this.picture = null;
    this.box = null;
    this.eyes = [];
    this.touched = false; // whether the user has set the frame on this picture
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => (this.pressed = null));
    slider.addEventListener("input", () => this.#resize());
  }

  /** Shows another picture (ImageBitmap), with a box in its pixels, the old one, or one in the middle. */
  show(picture, box, keep) {
    const same = keep && this.picture?.width === picture.width && this.picture?.height === picture.height;
    if (!keep) this.touched = false;
    this.picture?.close(); // a camera's frames would pile up
    this.picture = picture;
    const size = Math.round(0.6 * Math.min(picture.width, picture.height));
    const middle = { x: Math.round((picture.width - size) / 2), y: Math.round((picture.height - size) / 2), size };
    this.#set(box ?? (same ? this.box : middle));
  }

  /** Frames a face that was found; its square may pass the picture's border. */
  frame(box) {
    this.#set(box);
  }

  #set(box) {
    this.box = box;
    this.canvas.dataset.box = JSON.stringify(box); // for tests
    this.slider.value = (100 * box.size) / Math.min(this.picture.width, this.picture.height);
    this.draw();
  }

  /** Draws picture and frame. */
  draw() {
    const { canvas, picture, box } = this;
    const scale = Math.min(1, SHOWN / Math.max(picture.width, picture.height));
    canvas.width = Math.round(picture.width * scale);
    canvas.height = Math.round(picture.height * scale);
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--frame");
    context.lineWidth = Math.max(2, canvas.width / 150);
    context.save();
    context.translate((box.x + box.size / 2) * scale, (box.y + box.size / 2) * scale);
    context.rotate(((box.angle ?? 0) * Math.PI) / 180);
    context.strokeRect((-box.size / 2) * scale, (-box.size / 2) * scale, box.size * scale, box.size * scale);
    context.restore();
    for (const eye of this.eyes) {
      context.beginPath();
      context.arc(eye.x * scale, eye.y * scale, canvas.width / 80, 0, 7);
      context.stroke();
    }
  }

  /** Where on the picture a pointer is; the canvas keeps the picture's proportions inside its element. */
  #place(event) {
    const area = this.canvas.getBoundingClientRect();
    const scale = Math.min(area.width / this.picture.width, area.height / this.picture.height);
    return {
      x: (event.clientX - area.left - (area.width - this.picture.width * scale) / 2) / scale,
      y: (event.clientY - area.top - (area.height - this.picture.height * scale) / 2) / scale,
    };
  }

  #down(event) {
    if (!this.picture) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = { x: event.clientX, y: event.clientY, at: this.#place(event), box: this.box, dragged: false };
  }

  #move(event) {
    const { pressed } = this;
    if (!pressed) return;
    pressed.dragged ||= Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > TAP;
    if (!pressed.dragged) return;
    const at = this.#place(event);
    this.#centre(pressed.box.x + at.x - pressed.at.x, pressed.box.y + at.y - pressed.at.y, pressed.box.size);
  }

  #up(event) {
    const { pressed } = this;
    this.pressed = null;
    if (!pressed || pressed.dragged) return;
    this.eyes.push(this.#place(event));
    if (this.eyes.length < 2) {
      this.draw();
      return;
    }
    const box = boxOfEyes(...this.eyes);
    this.eyes = [];
    const most = Math.min(this.picture.width, this.picture.height);
    if (box.size > 8) this.#centre(box.x, box.y, Math.min(box.size, most), 0);
    else this.draw();
  }

  #resize() {
    if (!this.picture) return;
    const size = Math.max(
      8,
      Math.round((this.slider.value / 100) * Math.min(this.picture.width, this.picture.height)),
    );
    const { x, y, size: old } = this.box;
    this.#centre(x + (old - size) / 2, y + (old - size) / 2, size);
  }

  /** Moves the frame; its middle stays on the picture. */
  #centre(x, y, size, angle = this.box.angle ?? 0) {
    const within = (value, most) => Math.round(Math.min(Math.max(value, -size / 2), most - size / 2));
    this.touched = true;
    this.#set({ x: within(x, this.picture.width), y: within(y, this.picture.height), size, angle });
  }
}
