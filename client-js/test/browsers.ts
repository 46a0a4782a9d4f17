/**
 * Chromium and Firefox, both from Debian's packages, behind one small interface,
 * so that a scenario is written once: Chromium by playwright-core, Firefox by
 * puppeteer-core over WebDriver BiDi.
 */
import { createHash } from 'node:crypto'
import { accessSync, constants, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { chromium, type BrowserContext, type Page as ChromiumPage, type Worker } from 'playwright-core'
import { launch, TimeoutError, type Browser as FirefoxBrowser, type Page as FirefoxPage } from 'puppeteer-core'

export type BrowserName = 'chromium' | 'firefox'

/** Both, for tests that run in each. */
export const browserNames: readonly BrowserName[] = ['chromium', 'firefox']

/** What runs in a page: an expression, or a function that uses nothing but its arguments, which are JSON. */
export type Run<T> = string | ((...given: never[]) => T | Promise<T>)

/** A browser with a fresh profile, and the extension if `extension` names its folder. */
export interface Browser {
  name: BrowserName
  /** Origin of the extension's pages, such as `chrome-extension://…`; '' without one. */
  extensionOrigin: string
  newPage(): Promise<Page>
  /** The pages that are open, those that pages opened too. */
  pages(): Promise<Page[]>
  /** Chromium: kills the extension's worker, as the browser does when it idles, and resolves when it is gone. */
  killWorker(): Promise<void>
  /**
   * Chromium: has the extension's worker stop for ever in its next payment, right
   * after the debit, after the ticket is stored too, or after the rule is in place too.
   */
  holdWorker(after: 'debit' | 'store' | 'rule'): Promise<void>
  /** Chromium: kills the worker when it has come where {@link Browser.holdWorker} stops it. */
  killHeldWorker(): Promise<void>
  /** Ends the browser and removes its profile. */
  close(): Promise<void>
}

export interface Page {
  /** Goes there and waits until it is loaded; does not throw for a 402, a download, or a page that goes elsewhere meanwhile. */
  goto(url: string): Promise<void>
  url(): string
  /** Runs an expression or a function in the page's own world; a promise is waited for. */
  evaluate<T>(run: Run<T>, ...given: unknown[]): Promise<T>
  /** Waits until an expression is true in the page, at most `seconds` (10). */
  until(expression: string, seconds?: number): Promise<void>
  /** Chromium: runs an expression or a function in the world of the extension's content script. */
  evaluateAsContentScript<T>(run: Run<T>, ...given: unknown[]): Promise<T>
  /** Findings of axe, as sentences. */
  axe(): Promise<string[]>
  /** A picture for people, if PAYWORD_SCREENSHOTS names a folder. */
  picture(name: string): Promise<void>
  /** Presses keys as a person does, such as `Tab` and `Enter`. */
  press(...keys: string[]): Promise<void>
  /** Clicks what a CSS selector finds first, by a trusted event. */
  click(selector: string): Promise<void>
  /** Types into what has the focus. */
  type(text: string): Promise<void>
  /** Width in CSS pixels, and whether the reader likes it dark. */
  look(look: { width?: number, height?: number, isDark?: boolean }): Promise<void>
  /** Brings the tab to the front. */
  show(): Promise<void>
  back(): Promise<void>
  reload(): Promise<void>
  close(): Promise<void>
}

/** What may be chosen of a browser. */
export interface BrowserOptions {
  /** Folder of an unpacked extension. */
  extension?: string
  /** Folders of other extensions, such as a hostile one. */
  others?: string[]
  /** Such as `de`. Left out: en-US. */
  language?: string
}

/**
 * Starts a browser with a profile of its own in a temporary folder. Rejects with
 * a sentence that names the Debian package if the program is not in PATH.
 */
export async function startBrowser(name: BrowserName, options: BrowserOptions = {}): Promise<Browser> {
  return name === 'chromium' ? startChromium(options) : startFirefox(options)
}

/**
 * Waits until `check` gives something else than undefined or false, at most
 * `seconds`, and resolves with it.
 */
export async function eventually<T>(what: string, check: () => Promise<T | undefined | false>, seconds = 10): Promise<T> {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const found = await check()
    if (found !== undefined && found !== false) return found
    if (Date.now() > end) throw new Error(`after ${seconds} s still not: ${what}`)
    await pause(25)
  }
}

const require = createRequire(import.meta.url)
const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

/** Messages of navigations that ended otherwise than by the load of what was asked for. */
const otherEnds = /interrupted|ERR_ABORTED|ERR_HTTP_RESPONSE_CODE_FAILURE|Download is starting|NS_BINDING_ABORTED|navigation canceled|Navigation aborted|NS_ERROR_NET_EMPTY_RESPONSE|frame was detached|Not attached to an active page|unknown error|aborted/i

/** Messages of evaluations that lost their document to a navigation. */
const lostDocuments = /context was destroyed|navigat|no such frame|detached|Cannot find context|actor|destroyed|abort/i

function findProgram(packageName: string, ...names: string[]): string {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    for (const name of names) {
      const path = join(folder, name)
      try {
        accessSync(path, constants.X_OK)
        return path
      } catch {
        continue
      }
    }
  }
  throw new Error(`${names.join(' or ')} is not in PATH; install it by: apt-get install ${packageName}`)
}

function newProfile(name: BrowserName): string {
  return mkdtempSync(join(tmpdir(), `payword-${name}-`))
}

function removeProfile(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
}

/** The source text that runs in the page. */
function sourceOf<T>(run: Run<T>, given: unknown[]): string {
  if (typeof run === 'string') return run
  return `(${run.toString()})(${given.map(each => JSON.stringify(each) ?? 'undefined').join(', ')})`
}

/** The part of {@link Page} that is the same for both, by the few calls that are not. */
function makePage(driver: {
  goto(url: string): Promise<unknown>
  url(): string
  evaluate(source: string): Promise<unknown>
  picture(path: string): Promise<unknown>
  back(): Promise<unknown>
  reload(): Promise<unknown>
}): Pick<Page, 'goto' | 'url' | 'evaluate' | 'until' | 'axe' | 'picture' | 'back' | 'reload'> {
  async function until(expression: string, seconds?: number): Promise<void> {
    await eventually(`${expression} in ${driver.url()}`, async () => {
      try {
        return Boolean(await driver.evaluate(`Boolean(${expression})`))
      } catch (error) {
        if (lostDocuments.test(String(error))) return false
        throw error
      }
    }, seconds)
  }
  async function travel(go: () => Promise<unknown>): Promise<void> {
    try {
      await go()
    } catch (error) {
      if (!otherEnds.test(String(error))) throw error
    }
  }
  return {
    until,
    goto: url => travel(() => driver.goto(url)),
    back: () => travel(() => driver.back()),
    reload: () => travel(() => driver.reload()),
    url: () => driver.url(),
    async evaluate<T>(run: Run<T>, ...given: unknown[]) {
      return await driver.evaluate(sourceOf(run, given)) as T
    },
    async axe() {
      await driver.evaluate(`${axeSource}; 0`)
      return await driver.evaluate(`axe.run().then(found => found.violations.flatMap(each =>
        each.nodes.map(node => each.id + ': ' + each.help + ': ' + node.target.join(' ') + ' (' + (node.failureSummary ?? '') + ')')))`) as string[]
    },
    async picture(name) {
      const folder = process.env['PAYWORD_SCREENSHOTS']
      if (folder) await driver.picture(join(folder, `${name}.png`))
    },
  }
}

const chromiumArguments = [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-dev-shm-usage',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-default-apps',
]

async function startChromium(options: BrowserOptions): Promise<Browser> {
  const program = findProgram('chromium', 'chromium', 'chromium-browser')
  const profile = newProfile('chromium')
  const folders = foldersOf(options).join(',')
  const extensions = folders === '' ? [] : [`--disable-extensions-except=${folders}`, `--load-extension=${folders}`]
  try {
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: program,
      headless: false,
      args: [...chromiumArguments, ...extensions],
      ignoreDefaultArgs: ['--disable-extensions', '--disable-back-forward-cache', '--disable-popup-blocking'],
      locale: options.language ?? 'en-US',
      viewport: null,
    })
    const extensionOrigin = options.extension === undefined ? '' : await chromiumExtension(context, options.extension)
    return {
      name: 'chromium',
      extensionOrigin,
      newPage: async () => chromiumPage(context, await context.newPage(), extensionOrigin),
      pages: async () => context.pages().map(page => chromiumPage(context, page, extensionOrigin)),
      killWorker: () => killChromiumWorker(context, extensionOrigin),
      holdWorker: after => chromiumWorker(context, extensionOrigin).then(worker => worker.evaluate(holdPayment, after)),
      async killHeldWorker() {
        const worker = await chromiumWorker(context, extensionOrigin)
        await eventually('the worker is where it stops', () => worker.evaluate('globalThis.isHeld === true'))
        const session = await context.newCDPSession(extensionPage(context, extensionOrigin))
        await session.send('ServiceWorker.enable')
        // Whoever waits for its answer starts another one at once, of the same name.
        await session.send('ServiceWorker.stopAllWorkers')
        await session.detach()
      },
      async close() {
        await context.close()
        removeProfile(profile)
      },
    }
  } catch (error) {
    removeProfile(profile)
    throw error
  }
}

function foldersOf(options: BrowserOptions): string[] {
  return [...options.extension === undefined ? [] : [options.extension], ...options.others ?? []]
}

/** Chromium names an unpacked extension by the hash of its folder's path, in letters from a to p. */
function chromiumId(folder: string): string {
  const hash = createHash('sha256').update(realpathSync(folder)).digest('hex').slice(0, 32)
  return [...hash].map(digit => String.fromCharCode(97 + parseInt(digit, 16))).join('')
}

async function chromiumExtension(context: BrowserContext, folder: string): Promise<string> {
  const origin = `chrome-extension://${chromiumId(folder)}`
  await eventually(`${folder} runs as ${origin}`, async () => context.serviceWorkers().some(worker => worker.url().startsWith(`${origin}/`)), 20)
  return origin
}

function extensionPage(context: BrowserContext, extensionOrigin: string): ChromiumPage {
  const page = context.pages().find(each => each.url().startsWith(`${extensionOrigin}/`))
  if (page === undefined) throw new Error('open one of the extension\'s own pages first: its worker is reached from there')
  return page
}

/** The worker, started if need be. */
async function chromiumWorker(context: BrowserContext, extensionOrigin: string): Promise<Worker> {
  await extensionPage(context, extensionOrigin).evaluate(`chrome.runtime.sendMessage({ type: 'overview', sent: {} })`)
  return eventually('the worker runs', async () => context.serviceWorkers().findLast(worker => worker.url().startsWith(`${extensionOrigin}/`)))
}

// Runs in the extension's worker.
function holdPayment(after: 'debit' | 'store' | 'rule'): void {
  const world = globalThis as { isHeld?: boolean }
  const hold = (): Promise<never> => new Promise(() => { world.isHeld = true })
  const { session } = chrome.storage
  const set = session.set.bind(session) as (items: object) => Promise<void>
  const { updateSessionRules } = chrome.declarativeNetRequest
  if (after === 'debit') {
    session.set = ((items: object) => JSON.stringify(items).includes('"ticket":') ? hold() : set(items)) as typeof session.set
  } else {
    chrome.declarativeNetRequest.updateSessionRules = (async (options: chrome.declarativeNetRequest.UpdateRuleOptions) => {
      if (options.addRules === undefined) return updateSessionRules(options)
      if (after === 'rule') await updateSessionRules(options)
      return hold()
    }) as typeof updateSessionRules
  }
}

async function killChromiumWorker(context: BrowserContext, extensionOrigin: string): Promise<void> {
  const session = await context.newCDPSession(extensionPage(context, extensionOrigin))
  // Another one may run right after, under the same name: what counts is that this one was stopped.
  let isStopped = false
  session.on('ServiceWorker.workerVersionUpdated', ({ versions }) => {
    isStopped ||= versions.some(({ scriptURL, runningStatus }) => scriptURL.startsWith(extensionOrigin) && runningStatus === 'stopped')
  })
  await session.send('ServiceWorker.enable')
  await session.send('ServiceWorker.stopAllWorkers')
  await eventually('the worker is stopped', async () => isStopped)
  await session.detach()
}

async function evaluateInWorld(context: BrowserContext, page: ChromiumPage, extensionOrigin: string, expression: string): Promise<unknown> {
  const session = await context.newCDPSession(page)
  try {
    let world: number | undefined
    session.on('Runtime.executionContextCreated', ({ context: { id, origin } }) => {
      if (origin === extensionOrigin) world = id
    })
    await session.send('Runtime.enable')
    const contextId = await eventually(`a content script in ${page.url()}`, async () => world)
    const { result, exceptionDetails } = await session.send('Runtime.evaluate', { expression, contextId, awaitPromise: true, returnByValue: true })
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
    return result.value
  } finally {
    await session.detach()
  }
}

function chromiumPage(context: BrowserContext, page: ChromiumPage, extensionOrigin: string): Page {
  return {
    ...makePage({
      goto: url => page.goto(url),
      url: () => page.url(),
      evaluate: source => page.evaluate(source),
      picture: path => page.screenshot({ path, fullPage: true }),
      back: () => page.goBack(),
      reload: () => page.reload(),
    }),
    async evaluateAsContentScript<T>(run: Run<T>, ...given: unknown[]) {
      return await evaluateInWorld(context, page, extensionOrigin, sourceOf(run, given)) as T
    },
    async press(...keys) {
      for (const key of keys) await page.keyboard.press(key)
    },
    click: selector => page.locator(selector).first().click({ timeout: 10_000 }),
    type: text => page.keyboard.type(text),
    show: () => page.bringToFront(),
    async look({ width, height, isDark }) {
      if (width !== undefined) await page.setViewportSize({ width, height: height ?? 800 })
      if (isDark !== undefined) await page.emulateMedia({ colorScheme: isDark ? 'dark' : 'light' })
    },
    async close() {
      // The last page of a persistent context takes the browser along.
      if (context.pages().length === 1) await context.newPage()
      await page.close()
    },
  }
}

async function startFirefox(options: BrowserOptions): Promise<Browser> {
  const program = findProgram('firefox-esr', 'firefox-esr', 'firefox')
  const profile = newProfile('firefox')
  const uuid = crypto.randomUUID()
  let browser: FirefoxBrowser | undefined
  try {
    const id = options.extension === undefined ? '' : geckoId(options.extension)
    browser = await launch({
      browser: 'firefox',
      executablePath: program,
      headless: true,
      userDataDir: profile,
      defaultViewport: null,
      // Without it WebDriver may not open the extension's own pages.
      args: ['--remote-allow-system-access'],
      extraPrefsFirefox: {
        'intl.accept_languages': options.language ?? 'en-US',
        'intl.locale.requested': options.language ?? 'en-US',
        'dom.disable_open_during_load': true,
        // So that the origin of the extension's pages is known.
        'extensions.webextensions.uuids': JSON.stringify({ [id]: uuid }),
      },
    })
    const started = browser
    for (const folder of foldersOf(options)) await started.installExtension(folder)
    return {
      name: 'firefox',
      extensionOrigin: options.extension === undefined ? '' : `moz-extension://${uuid}`,
      newPage: async () => firefoxPage(await started.newPage()),
      pages: async () => (await started.pages()).map(firefoxPage),
      killWorker: () => Promise.reject(new Error(noWorkers)),
      holdWorker: () => Promise.reject(new Error(noWorkers)),
      killHeldWorker: () => Promise.reject(new Error(noWorkers)),
      async close() {
        await started.close()
        removeProfile(profile)
      },
    }
  } catch (error) {
    await browser?.close()
    removeProfile(profile)
    throw error
  }
}

const noWorkers = 'Firefox has no way to the worker of an extension from outside'

function geckoId(extension: string): string {
  const manifest = JSON.parse(readFileSync(join(extension, 'manifest.json'), 'utf8')) as { browser_specific_settings?: { gecko?: { id?: string } } }
  const id = manifest.browser_specific_settings?.gecko?.id
  if (id === undefined) throw new Error(`${extension}/manifest.json names no browser_specific_settings.gecko.id`)
  return id
}

function firefoxPage(page: FirefoxPage): Page {
  // puppeteer hears nothing of navigations to the extension's own pages, nor of
  // those into the back-forward cache: `known` is where the page is while
  // puppeteer goes on saying `said`.
  let said = '', known = ''
  async function arrived(condition: string): Promise<void> {
    await eventually(`${condition} in ${page.url()}`, async () => {
      try {
        if (await page.evaluate(`${condition} && document.readyState === 'complete'`) !== true) return false
        said = page.url()
        known = await page.evaluate('location.href') as string
        return true
      } catch {
        return false
      }
    })
  }
  // puppeteer now and then misses the end of a navigation when the page before, or
  // the extension, starts another at the same moment: then it would wait for ever.
  async function travel(go: (options: { timeout: number }) => Promise<unknown>): Promise<void> {
    const from = Date.now()
    try {
      await go({ timeout: 10_000 })
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error
      await arrived(`performance.timeOrigin >= ${from - 1}`)
    }
  }
  async function goto(url: string): Promise<void> {
    said = known = ''
    if (!url.startsWith('moz-extension:')) {
      await travel(options => page.goto(url, options))
      return
    }
    await page.goto(url, { timeout: 1 }).catch(() => {})
    await arrived(`location.href === ${JSON.stringify(url)}`)
  }
  async function back(): Promise<void> {
    const before = await page.evaluate('performance.timeOrigin') as number
    await page.goBack({ timeout: 1 }).catch(() => {})
    await arrived(`performance.timeOrigin !== ${before}`)
  }
  return {
    ...makePage({
      goto,
      url: () => known !== '' && page.url() === said ? known : page.url(),
      evaluate: source => page.evaluate(source),
      picture: async path => writeFileSync(path, await page.screenshot({ fullPage: true })),
      back,
      reload: () => travel(options => page.reload(options)),
    }),
    evaluateAsContentScript: () => Promise.reject(new Error('Firefox has no way into the world of a content script from outside')),
    async press(...keys) {
      for (const key of keys) await page.keyboard.press(key as Parameters<typeof page.keyboard.press>[0])
    },
    click: selector => page.click(selector),
    type: text => page.keyboard.type(text),
    show: () => page.bringToFront(),
    async look({ width, height, isDark }) {
      if (width !== undefined) await page.setViewport({ width, height: height ?? 800 })
      if (isDark !== undefined) await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: isDark ? 'dark' : 'light' }])
    },
    close: () => page.close(),
  }
}
