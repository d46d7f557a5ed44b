// Loaded first, without modules: says so where the rest of the page could not be loaded or understood.
addEventListener(
  "error",
  (event) => {
    if (event.target !== window && event.target.tagName !== "SCRIPT") return;
    const show = () => {
      const trouble = document.getElementById("trouble");
      trouble.textContent =
        "A part of this page could not be loaded; check that npm's package was fetched on the server, " +
        "or use a newer browser.";
      trouble.hidden = false;
      document.getElementById("state").textContent = "The page is not complete.";
    };
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", show);
    else show();
  },
  true,
);
