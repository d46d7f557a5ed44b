// Loaded first, without modules: says so where the rest of the page could not be loaded or understood.
addEventListener(
  "error",
  (event) => {
    if (event.target !== window && event.target.tagName !== "SCRIPT") return;
    const show = () => {
      const trouble = document.getElementById("trouble");
      trouble.textContent =
        "Part of this page could not be loaded; check that npm's package is installed on the server, " +
        "or use a newer browser.";
      trouble.hidden = false;
      document.getElementById("state").textContent = "The page is incomplete.";
    };
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", show);
    else show();
  },
  true,
);
