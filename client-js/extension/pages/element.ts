/** What an element may hold: text is never read as HTML. */
export type Child = Node | string

let count = 0

/** An id that no other element of the page has. */
export function newId(): string {
  count += 1
  return `e${count}`
}

/** Makes an element. An attribute of `false` or undefined is left out, of `true` is empty. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Record<string, string | boolean | undefined> = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined) continue
    made.setAttribute(name, value === true ? '' : value)
  }
  made.append(...children)
  return made
}

/** Text from elsewhere, such as an address: it stands apart from the direction of what surrounds it. */
export function foreign(text: string, attributes: Record<string, string> = {}): HTMLElement {
  return element('bdi', attributes, text)
}

/** The element of the page with this id. Throws if the page has none: then page and script do not fit. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id)
  if (!found) throw new Error(`the page has no element ${id}`)
  return found as T
}

/** Lets the owner keep a text as a file. */
export function download(file: { name: string, type: string, text: string }): void {
  const address = URL.createObjectURL(new Blob([file.text], { type: file.type }))
  const link = element('a', { href: address, download: file.name })
  link.click()
  // The browser has begun to read it by the next minute at the latest.
  setTimeout(() => { URL.revokeObjectURL(address) }, 60_000)
}
