// A process that pays with a wallet file: its path, what to pay for, how many pages.
import { FileStorage, Wallet } from '../src/node.js'
import { payPage } from './paying.js'

const [path = '', url = '', count = ''] = process.argv.slice(2)
const wallet = await Wallet.open({ storage: new FileStorage(path) })
if (!wallet) throw new Error(`there is no wallet ${path}`)
const answers = await Promise.all(Array.from({ length: Number(count) }, (_, k) => payPage(wallet, `${url}/${k}`, 1000n)))
for (const { status } of answers) if (status !== 200) throw new Error(`status ${status}`)
await wallet.close()
