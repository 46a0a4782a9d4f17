// What the pages of payfetch.test.ts run: payFetch with a payer in memory, and a
// stand-in for the extension's end of the bridge.
import { extensionPayer, postBridgeMessage, readBridgeMessage, readCall } from '../../src/extension_payer.js'
import { payFetch } from '../../src/payfetch.js'
import { FakePayer } from '../payer_fake.js'

const payer = new FakePayer()
const limit = 100_000n
const paying = payFetch({ payer, budget: { perRequest: limit, perSite: limit, perDay: limit, total: limit } })

async function ask(url: string, init?: RequestInit): Promise<string> {
  try {
    return await (await paying(url, init)).text()
  } catch (error) {
    const { reason, kind, name } = error as { reason?: string, kind?: string, name: string }
    return reason ?? kind ?? name
  }
}

/** What a program does that adds the header by itself. */
async function askNaively(url: string): Promise<string> {
  return (await fetch(url, { headers: { Payword: 'id=:AAAAAAAAAAAAAAAAAAAAAA==:, c=0, i=1, w=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:, n=1, max=0' } })).text()
}

async function isBridgeFound(): Promise<boolean> {
  return await extensionPayer() !== undefined
}

function standIn(): void {
  window.addEventListener('message', event => {
    const message = readBridgeMessage(event, window, 'extension')
    if (message !== undefined && readCall(message.text)?.method === 'hello') postBridgeMessage(window, 'page', message.nonce, { ok: true, result: null })
  })
}

Object.assign(globalThis, { ask, askNaively, isBridgeFound, standIn, released: () => String(payer.released()) })
