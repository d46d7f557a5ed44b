// Uses the demo page with a coded head, in headless Chromium, and prints what was seen as JSON.
// node coded.mjs URL CHROMIUM PACKAGE_JSON SCREENSHOT

import { createRequire } from "node:module";

const [url, executablePath, packages, screenshot] = process.argv.slice(2);
const { chromium } = createRequire(packages)("playwright-core");
const LITTLE = "0.0001"; // a budget at which every answer is a coin
const seen = { bodies: [], console: [] };
let page;

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 } });
  context.setDefaultTimeout(120_000);
  const text = (id) => page.locator(`#${id}`).innerText();

  const open = async () => {
    page = await context.newPage();
    page.on("request", (request) => request.postData() && seen.bodies.push(request.postData()));
    page.on("pageerror", (error) => seen.console.push(String(error)));
    await page.goto(url);
    await page.locator("#state").filter({ hasText: "Ready" }).waitFor();
    await page.click("#example");
    await page.locator("#ask:not([disabled])").waitFor();
  };
  const asked = async () => {
    const before = seen.bodies.length;
    await page.click("#ask");
    await page.locator("#ask:not([disabled])").waitFor();
    if (!(await page.locator("#trouble").isHidden())) return { trouble: await text("trouble"), body: null };
    return {
      body: JSON.parse(seen.bodies[before]),
      label: await text("label"),
      probabilities: await text("probabilities"),
      sent: await page.locator("#sent li").allInnerTexts(),
      sentBytes: await text("sent_bytes"),
      noise: await text("noise"),
      attack: await text("attack"),
    };
  };
  const many = async (times) => {
    const found = [];
    for (let i = 0; i < times; i++) found.push((await asked()).body.instances[0].symbol);
    return found;
  };

  await open();
  seen.default = { epsilon: await page.inputValue("#epsilon"), promise: await text("promise") };
  await page.fill("#epsilon", "20");
  seen.promise = await text("promise");
  seen.sure = await asked();
  await page.screenshot({ path: screenshot, fullPage: true });
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  for (const epsilon of ["0", "-1", "21", ""]) {
    await page.fill("#epsilon", epsilon);
    (seen.refused ??= []).push((await asked()).trouble, await text("promise"));
  }

  await page.fill("#epsilon", LITTLE);
  seen.fresh = await many(24);
  await page.check("#permanent");
  seen.noSlot = (await asked()).trouble;
  await page.fill("#slot", "anna");
  seen.repeat = await text("repeat");
  seen.anna = await many(8);
  seen.spent = await text("spent");
  seen.slots = [];
  for (let i = 0; i < 16; i++) {
    await page.fill("#slot", `slot ${i}`);
    seen.slots.push(...(await many(1)));
  }
  // Another page of the same browser has the same secret; nobody can read it out.
  await open();
  await page.fill("#epsilon", LITTLE);
  await page.check("#permanent");
  await page.fill("#slot", "anna");
  seen.later = await many(4);
  seen.slotsLater = [];
  for (let i = 0; i < 16; i++) {
    await page.fill("#slot", `slot ${i}`);
    seen.slotsLater.push(...(await many(1)));
  }
  seen.secret = await page.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const opening = indexedDB.open("privzoo");
        opening.onerror = reject;
        opening.onsuccess = () => {
          const reading = opening.result.transaction("keys").objectStore("keys").get("permanent");
          reading.onsuccess = async () => {
            const key = reading.result;
            const raw = await crypto.subtle.exportKey("raw", key).catch((error) => error.name);
            resolve({ algorithm: key.algorithm, extractable: key.extractable, raw });
          };
        };
      }),
  );
} catch (error) {
  const shown = await page?.locator("body").innerText();
  console.error(`${error}\n${shown}\n${seen.console.join("\n")}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
