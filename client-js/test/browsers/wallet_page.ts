// What the pages and the worker of wallet.test.ts run: a wallet in IndexedDB.
import { IndexedDbStorage, Wallet } from '../../src/index.js'
import { payPage } from '../paying.js'

const options = { storage: new IndexedDbStorage() }
let opened: Promise<Wallet | undefined> | undefined
let notices = 0

async function wallet(): Promise<Wallet> {
  opened ??= Wallet.open(options)
  const found = await opened
  if (!found) throw new Error('there is no wallet')
  return found
}

async function make(broker: string): Promise<string> {
  const made = await Wallet.create(options, { passphrase: 'of a test', workFactor: 4 })
  opened = Promise.resolve(made)
  return (await made.openAccount(broker)).account
}

async function listen(): Promise<void> {
  (await wallet()).changed(() => { notices++ })
}

/** Pays for so many pages at once and returns the statuses that came. */
async function payMany(url: string, count: number): Promise<string> {
  const paying = await wallet()
  const answers = await Promise.all(Array.from({ length: count }, (_, k) => payPage(paying, `${url}/${k}`, 1000n)))
  return [...new Set(answers.map(({ status }) => status))].join()
}

/** The same in a worker. */
function payInWorker(url: string, count: number): Promise<string> {
  const worker = new Worker('/wallet.js')
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(String(data))
    worker.onerror = ({ message }) => reject(new Error(message))
    worker.postMessage({ url, count })
  })
}

if (!('document' in globalThis)) {
  globalThis.onmessage = ({ data }: MessageEvent<{ url: string, count: number }>) => {
    payMany(data.url, data.count).then(result => postMessage(result), error => postMessage(String(error)))
  }
}

/** What can be read of the secret: what is stored, and whether its key can be exported. */
async function secret(): Promise<string> {
  const { secret: stored } = (await options.storage.load())!
  const isRead = await crypto.subtle.exportKey('raw', stored.key!).then(() => true, () => false)
  return JSON.stringify([Object.keys(stored).sort(), stored.key!.extractable, isRead])
}

async function released(): Promise<string> {
  return String((await (await wallet()).summary()).released)
}

Object.assign(globalThis, {
  make, listen, payMany, payInWorker, secret, released, noticeCount: () => notices,
  backup: async () => (await wallet()).backup(), makeAgain: () => make('https://broker.example').then(() => 'made', (error: { kind: string }) => error.kind),
  seed: async (passphrase: string) => (await wallet()).seed(passphrase),
})
