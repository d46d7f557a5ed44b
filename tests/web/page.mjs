// Uses the demo page as a visitor does, in headless Chromium, and prints what was seen as JSON.
// node page.mjs URL CHROMIUM PACKAGE_JSON PHOTOGRAPH TURNED FACELESS SCREENSHOT

import { createRequire } from "node:module";

const [url, executablePath, packages, photograph, turned, faceless, screenshot] = process.argv.slice(2);
const { chromium } = createRequire(packages)("playwright-core");
const seen = { urls: [], bodies: [], console: [] };
let page;

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--use-fake-device-for-media-stream"],
});
try {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 } }); // a phone's
  context.setDefaultTimeout(120_000);
  page = await context.newPage();
  page.on("request", (request) => seen.urls.push(request.url()));
  page.on("request", (request) => request.postData() && seen.bodies.push(request.postData()));
  // LiteRT.js writes its notes as errors.
  const note = /^(INFO|WARNING):/;
  page.on("console", (message) => {
    if (message.type() === "error" && !note.test(message.text())) seen.console.push(message.text());
  });
  page.on("pageerror", (error) => seen.console.push(String(error)));
  const text = (id) => page.locator(`#${id}`).innerText();
  const trouble = async () => {
    await page.locator("#trouble:not([hidden])").waitFor();
    return text("trouble");
  };
  // Not page.waitForFunction: the page's content security policy forbids what that does.
  const until = async (condition) => {
    const end = Date.now() + 120_000;
    while (!(await page.evaluate(condition))) {
      if (Date.now() > end) throw new Error(`it never became true: ${condition}`);
      await page.waitForTimeout(100);
    }
  };
  const ready = () => until(() => document.getElementById("state").textContent.startsWith("Ready"));
  const asked = async () => {
    await page.locator("#ask:not([disabled])").waitFor();
    const before = seen.bodies.length;
    await page.click("#ask");
    await until(() => !document.getElementById("ask").disabled);
    if (!(await page.locator("#trouble").isHidden())) throw new Error(await text("trouble"));
    return {
      label: await text("label"),
      probabilities: await text("probabilities"),
      sent: await page.locator("#sent li").allInnerTexts(),
      sentBytes: await text("sent_bytes"),
      pictureBytes: await text("picture_bytes"),
      attack: await text("attack"),
      noise: await text("noise"),
      body: seen.bodies[before],
    };
  };

  const framed = async () => {
    await until(() => /^(A face was|\d+ faces were|No face was) found/.test(document.getElementById("found").textContent));
    return { said: await text("found"), box: JSON.parse(await page.locator("#photo").getAttribute("data-box")) };
  };

  await page.goto(url);
  await ready();
  await page.locator("#found[data-detector]").waitFor({ state: "attached" });
  seen.detector = await page.locator("#found").getAttribute("data-detector");
  seen.golden = Number(await page.locator("#state").getAttribute("data-golden"));
  await page.click("#example");
  await until(() => document.getElementById("photo").width === 190);
  seen.example = await asked();
  await page.screenshot({ path: screenshot, fullPage: true });
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  seen.quiet = [...seen.console];

  await page.setInputFiles("#file", { name: "notes.txt", mimeType: "image/png", buffer: Buffer.from("no picture") });
  seen.noPicture = await trouble();
  await page.setInputFiles("#file", photograph);
  await until(() => document.getElementById("photo").width === 512);
  seen.framed = await framed();
  seen.photograph = await asked();
  const area = await page.locator("#photo").boundingBox();
  for (const across of [0.4, 0.6]) await page.mouse.click(area.x + across * area.width, area.y + 0.4 * area.height);
  seen.eyes = await asked();

  await page.setInputFiles("#file", faceless);
  await until(() => document.getElementById("photo").width === 300);
  seen.faceless = await framed();
  await page.setInputFiles("#file", turned);
  await until(() => document.getElementById("photo").width === 500);
  seen.framedTurned = await framed();

  await page.click("#camera");
  seen.cameraRefused = await trouble();
  await context.grantPermissions(["camera"]);
  await page.click("#camera");
  await until(() => document.getElementById("photo").width >= 640);
  seen.cameraFramed = await framed();
  seen.camera = await asked();
  await page.click("#example");
  await until(() => document.getElementById("photo").width === 190);

  await context.setOffline(true);
  await page.click("#ask");
  seen.serverDown = await trouble();
  await context.setOffline(false);

  if ((await page.locator("#model option").count()) > 1) {
    await page.locator("#state").evaluate((state) => (state.textContent = ""));
    await page.selectOption("#model", { index: 1 });
    await ready();
    await page.click("#ask");
    seen.otherModel = await trouble();
    const reply = JSON.stringify({ predictions: [[0.25, 0.75]] });
    await page.route("**/v1/models/**", (route) => route.fulfill({ body: reply }));
    seen.noisy = [await asked(), await asked()];
  }

  await page.route("**/@litertjs/core/dist/index.js", (route) => route.fulfill({ status: 404 }));
  await page.goto(url);
  seen.incomplete = await trouble();
} catch (error) {
  const shown = await page?.locator("body").innerText();
  console.error(`${error}\n${shown}\n${seen.console.join("\n")}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
