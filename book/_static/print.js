// Paper is white: a page is printed in the light mode, whichever mode it is read in.
(() => {
  const root = document.documentElement;
  let reading = root.dataset.theme;
  addEventListener("beforeprint", () => {
    reading = root.dataset.theme;
    root.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = reading;
  });
})();
