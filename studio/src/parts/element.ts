// Elements of the page, made by name. Text always goes in as text, so nothing that comes from a document is markup.

export type Child = Node | string | null | undefined | false;
type Value = string | boolean | undefined | ((event: Event) => void);

/** An element; `onclick` and the like take functions, `true` sets an attribute without a value. */
export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(attribute.replace(/^on/, ""), value);
    else if (value === true) element.setAttribute(attribute, "");
    else if (typeof value === "string") element.setAttribute(attribute, value);
  }
  fill(element, ...children);
  return element;
}

/** Replaces what an element holds. The focus stays on the element with the same `data-focus`. */
export function fill(element: HTMLElement, ...children: Child[]): void {
  const focused = document.activeElement;
  const name = focused instanceof HTMLElement && element.contains(focused) ? focused.dataset["focus"] : undefined;
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
  if (name === undefined) return;
  const same = [...element.querySelectorAll<HTMLElement>("[data-focus]")].find((one) => one.dataset["focus"] === name);
  same?.focus({ preventScroll: true });
}

export function button(label: string, act: () => void, attributes: Record<string, Value> = {}): HTMLButtonElement {
  return make("button", { type: "button", onclick: act, ...attributes }, label);
}

export function link(label: string, href: string, attributes: Record<string, Value> = {}): HTMLAnchorElement {
  return make("a", { href, ...attributes }, label);
}
