// xterm.js writes its colours and sizes into <style> elements and style attributes, which the page's
// Content-Security-Policy refuses. The same rules are allowed as constructed style sheets and through
// the style object: here the one is turned into the other, on this page alone.

const make = document.createElement.bind(document);

document.createElement = (name, options) =>
  String(name).toLowerCase() === "style" ? sheetElement() : make(name, options);

const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function set(name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

/** An element that paints nothing, whose text becomes the rules of a style sheet of its own. */
function sheetElement() {
  const element = make("meta");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  let text = "";
  const property = {
    get: () => text,
    set: (value) => {
      text = String(value);
      sheet.replaceSync(text);
    },
  };
  for (const name of ["textContent", "innerText", "innerHTML"]) Object.defineProperty(element, name, property);
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
    remove();
  };
  return element;
}
