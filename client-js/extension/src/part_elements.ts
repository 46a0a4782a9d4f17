/**
 * Looks for the elements of parts of a page, has the browser ask for them again if
 * `shouldLoad`, and returns the URLs that an element was found for.
 *
 * It is given to the browser as a text, to be run in the page's own world: so it
 * uses nothing outside of itself. Chromium keeps what a content script loads out of
 * the page's timings, and from those is known what became of a payment.
 */
export function visitParts(urls: string[], shouldLoad: boolean): string[] {
  function ownUrl(name: string): string | undefined {
    if (!URL.canParse(name, document.baseURI)) return undefined
    const url = new URL(name, document.baseURI)
    url.hash = ''
    return url.origin === location.origin ? url.href : undefined
  }

  function sourceOf(element: Element): string | undefined {
    if (element instanceof HTMLImageElement) return ownUrl(element.currentSrc || element.src)
    if (element instanceof HTMLLinkElement) return ownUrl(element.href)
    if (element instanceof SVGImageElement) return ownUrl(element.href.baseVal)
    return 'src' in element && typeof element.src === 'string' ? ownUrl(element.src) : undefined
  }

  function loadAgain(element: Element): void {
    if (element instanceof HTMLImageElement && element.srcset !== '') element.srcset = `${element.srcset}`
    else if (element instanceof HTMLScriptElement) replaceScript(element)
    else if (element instanceof HTMLLinkElement) element.replaceWith(element.cloneNode())
    else if (element instanceof HTMLMediaElement) element.load()
    else if (element instanceof HTMLSourceElement && element.parentElement instanceof HTMLMediaElement) element.parentElement.load()
    else if (element instanceof SVGImageElement) element.setAttribute('href', element.href.baseVal)
    else if ('src' in element) element.setAttribute('src', element.getAttribute('src') ?? '')
  }

  // A script that failed never runs; another one with the same attributes does.
  function replaceScript(element: HTMLScriptElement): void {
    const again = document.createElement('script')
    for (const { name, value } of element.attributes) again.setAttribute(name, value)
    again.nonce = element.nonce
    again.async = element.async
    element.replaceWith(again)
  }

  // What styles load belongs to no element: the browser asks for it again when it reads them anew.
  function loadStylesAgain(): void {
    for (const sheet of document.styleSheets) {
      if (sheet.disabled) continue
      sheet.disabled = true
      requestAnimationFrame(() => {
        sheet.disabled = false
      })
    }
  }

  const all = [...document.querySelectorAll('img,input[type=image],script[src],link[rel~=stylesheet][href],video,audio,source,track,image')]
  const elements = all.filter(element => urls.includes(sourceOf(element) ?? ''))
  const found = new Set(elements.flatMap(element => sourceOf(element) ?? []))
  if (shouldLoad) {
    for (const element of elements) loadAgain(element)
    if (urls.some(url => !found.has(url))) loadStylesAgain()
  }
  return [...found]
}
