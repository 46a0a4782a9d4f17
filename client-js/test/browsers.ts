/**
 * Chromium and Firefox, both from Debian's packages, behind one small interface,
 * so that a scenario is written once: Chromium by playwright-core, Firefox by
 * puppeteer-core over WebDriver BiDi.
 */

export type BrowserName = 'chromium' | 'firefox'

/** A browser with a fresh profile, and the extension if `extension` names its folder. */
export interface Browser {
  name: BrowserName
  /** Origin of the extension's pages, such as `chrome-extension://…`; '' without one. */
  extensionOrigin: string
  newPage(): Promise<Page>
  /** Chromium: kills the extension's worker, as the browser does when it idles. */
  killWorker(): Promise<void>
  close(): Promise<void>
}

export interface Page {
  /** Goes there and waits until it is loaded; does not throw for a 402. */
  goto(url: string): Promise<void>
  url(): string
  /** Runs a function in the page's own world. */
  evaluate<T>(run: string): Promise<T>
  /** Waits until an expression is true in the page, at most `seconds`. */
  until(expression: string, seconds?: number): Promise<void>
  /** Findings of axe, as sentences. */
  axe(): Promise<string[]>
  /** A picture for people, if PAYWORD_SCREENSHOTS names a folder. */
  picture(name: string): Promise<void>
  back(): Promise<void>
  close(): Promise<void>
}

export async function startBrowser(_name: BrowserName, _options: { extension?: string }): Promise<Browser> {
  throw new Error('not written yet')
}
