// The controls for a coded head's budget: epsilon, whether to repeat answers, and what was spent.

import { checkBudget, KIND } from "./codes.js";
import { readSecret } from "./secret.js";
import { promiseText, repeatText, spentText } from "./words.js";

/** Shown for coded heads only. */
export class Budget {
  /** @param {(id: string) => HTMLElement} element of the page. */
  constructor(element) {
    this.element = element;
    this.manifest = null;
    this.fresh = 0; // sum of the epsilons of fresh answers
    this.slots = new Map(); // of repeated answers: the question -> how often it was asked, and its maximum cost
    for (const id of ["epsilon", "permanent"]) element(id).addEventListener("input", () => this.#say());
  }

  /** Shows the controls for a head's manifest; null hides them. */
  show(manifest) {
    this.manifest = manifest?.noise?.kind === KIND ? manifest : null;
    this.element("budget").hidden = !this.manifest;
    if (!this.manifest) return;
    this.element("epsilon").value = this.manifest.noise.epsilon;
    this.#say();
  }

  /** The user's choices, for `protect`; throws if they are invalid. */
  async options() {
    if (!this.manifest) return {};
    const epsilon = this.#epsilon();
    if (!this.element("permanent").checked) return { epsilon };
    const slot = this.element("slot").value.trim();
    if (!slot) throw new Error("Enter who or what the repeated answers are about: a name, or a day.");
    return { epsilon, permanent: { key: await readSecret(), slot } };
  }

  /** Counts an answer that was drawn, whether or not it reaches the server. */
  spend({ noise }, { epsilon, permanent }) {
    if (noise?.kind !== KIND) return;
    const { k, codebook } = noise;
    if (permanent) {
      const question = JSON.stringify([permanent.slot, codebook.name, k, epsilon]);
      const asked = (this.slots.get(question)?.asked ?? 0) + 1;
      // Each of the k symbols has one answer, however often it is repeated.
      this.slots.set(question, { asked, cost: Math.min(asked, k) * epsilon });
    } else this.fresh += epsilon;
    const total = [...this.slots.values()].reduce((sum, { cost }) => sum + cost, this.fresh);
    this.element("spent").textContent = spentText(total);
  }

  #epsilon() {
    const { value } = this.element("epsilon");
    return checkBudget(value.trim() === "" ? NaN : Number(value));
  }

  #say() {
    const { k } = this.manifest.noise;
    const repeated = this.element("permanent").checked;
    this.element("slots").hidden = this.element("repeat").hidden = !repeated;
    try {
      const epsilon = this.#epsilon();
      this.element("promise").textContent = promiseText(k, epsilon);
      this.element("repeat").textContent = repeatText(k, epsilon);
    } catch (error) {
      this.element("promise").textContent = error.message;
      this.element("repeat").textContent = "";
    }
  }
}
