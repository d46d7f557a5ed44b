// Opens every head of the demo page in headless Chromium, and prints how far each is from its golden output, as JSON.
// node released.mjs URL CHROMIUM PACKAGE_JSON

import { createRequire } from "node:module";

const [url, executablePath, packages] = process.argv.slice(2);
const { chromium } = createRequire(packages)("playwright-core");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(url);
  const shares = [];
  const state = page.locator("#state");
  await state.filter({ hasText: "golden output" }).waitFor();
  const count = await page.locator("#model option").count();
  for (let index = 0; index < count; index++) {
    // The state of the head before must not be taken for this one's.
    await state.evaluate((element) => delete element.dataset.golden);
    await page.locator("#model").evaluate((element, chosen) => {
      element.selectedIndex = chosen;
      element.dispatchEvent(new Event("change", { bubbles: true }));
    }, index);
    await page.locator("#state[data-golden]").waitFor();
    shares.push(Number(await state.getAttribute("data-golden")));
  }
  console.log(JSON.stringify(shares));
} finally {
  await browser.close();
}
