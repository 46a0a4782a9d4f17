// What the page of other_origins.test.ts runs: payFetch with a wallet of the page's own.
import { MemoryStorage, payFetch, Wallet } from '../../src/index.js'

const wallet = Wallet.create({ storage: new MemoryStorage() })
const limit = 100_000n

async function openAccount(broker: string): Promise<string> {
  return (await (await wallet).openAccount(broker)).account
}

async function ask(url: string, init?: RequestInit): Promise<string> {
  const paying = payFetch({ payer: await wallet, budget: { perRequest: limit, perSite: limit, perDay: limit, total: limit } })
  try {
    return await (await paying(url, init)).text()
  } catch (error) {
    const { kind, name } = error as { kind?: string, name: string }
    return kind ?? name
  }
}

async function released(): Promise<string> {
  return String((await (await wallet).summary()).released)
}

Object.assign(globalThis, { openAccount, ask, released })
