/** The extension's owner: what its own pages ask of the worker, for tests. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Answer, Messages, OwnerMessages, Overview, SiteLimits } from '../extension/src/messages.js'
import { type Browser, type BrowserName, type BrowserOptions, type Page, startBrowser } from './browsers.js'
import type { Servers } from './servers.js'

/** An error that the worker answered with. `kind` and `reason` are those of src/errors.ts. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError'
  readonly kind: string
  readonly reason: string | undefined

  constructor(type: string, error: { kind: string, message: string, reason?: string }) {
    super(`${type}: ${error.kind}: ${error.message}`)
    this.kind = error.kind
    this.reason = error.reason
  }
}

/** Somebody with the extension, at one of its own pages. */
export class Owner {
  readonly browser: Browser
  readonly page: Page

  constructor(browser: Browser, page: Page) {
    this.browser = browser
    this.page = page
  }

  /** Sends a message to the worker, as the extension's pages do. Rejects with a {@link WorkerError}. */
  async ask<T extends keyof OwnerMessages>(type: T, sent: Messages[T]['sent']): Promise<Messages[T]['back']> {
    const answer = await this.page.evaluate<Answer<T> | undefined>(
      (message: unknown) => chrome.runtime.sendMessage(message), { type, sent })
    if (answer === undefined) throw new Error(`the worker gave no answer to ${type}`)
    if (!answer.ok) throw new WorkerError(type, answer.error)
    return answer.back
  }

  /** Makes a wallet with an account at the broker, and puts money on it, in micros. */
  async openWallet(servers: Servers, amount: bigint): Promise<string> {
    const { account } = await this.ask('create', { broker: servers.broker.origin, passphrase: testPassphrase })
    await servers.fund(account, amount)
    return account
  }

  /** Allows an origin. Limits are in micros. */
  async allow(origin: string, limits: SiteLimits): Promise<void> {
    await this.ask('allow', { origin, limits })
  }

  overview(): Promise<Overview> {
    return this.ask('overview', {})
  }

  /** Released to an origin, and in all, in micros. */
  async released(origin: string): Promise<{ site: bigint, all: bigint }> {
    const { sites, inAll } = await this.overview()
    return { site: BigInt(sites.find(site => site.origin === origin)?.inAll ?? '0'), all: BigInt(inAll) }
  }

  /** Ends the browser. */
  close(): Promise<void> {
    return this.browser.close()
  }
}

/** Of the wallets that tests make. */
export const testPassphrase = 'correct horse battery staple'

/**
 * Starts a browser with the extension as it is built for tests, and an empty page
 * of the extension's origin, from which the owner speaks.
 */
export async function startOwner(name: BrowserName, options: Omit<BrowserOptions, 'extension'> = {}): Promise<Owner> {
  const built = join(dirname(dirname(fileURLToPath(import.meta.url))), 'extension', name)
  const extension = mkdtempSync(join(tmpdir(), `payword-extension-${name}-`))
  try {
    cpSync(built, extension, { recursive: true })
    writeFileSync(join(extension, 'owner.html'), '<!doctype html><html lang="en"><title>owner</title></html>')
    const browser = await startBrowser(name, { ...options, extension })
    const page = await browser.newPage()
    await page.goto(`${browser.extensionOrigin}/owner.html`)
    return new Owner({
      ...browser,
      async close() {
        await browser.close()
        rmSync(extension, { recursive: true })
      },
    }, page)
  } catch (error) {
    rmSync(extension, { recursive: true })
    throw error
  }
}
