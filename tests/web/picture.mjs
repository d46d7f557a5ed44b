// Asks the demo page about a photograph, on a phone's screen in headless Chromium, and takes a picture of the page.
// node picture.mjs URL CHROMIUM PACKAGE_JSON PHOTOGRAPH PICTURE

import { createRequire } from "node:module";

const [url, executablePath, packages, photograph, path] = process.argv.slice(2);
const { chromium } = createRequire(packages)("playwright-core");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 } });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(url);
  await page.locator("#state", { hasText: "golden output" }).waitFor();
  await page.setInputFiles("#file", photograph);
  await page.locator("#found", { hasText: "A face was found." }).waitFor();
  await page.locator("#ask:not([disabled])").click();
  await page.locator("#results:not([hidden])").waitFor();
  await page.locator("#times", { hasText: "ms" }).waitFor();
  await page.screenshot({ path, fullPage: true });
  console.log(await page.locator("#found").getAttribute("data-detector"));
} finally {
  await browser.close();
}
