// A process that changes a wallet file for ever and tells what is durable.
import { FileStorage } from '../src/node.js'

const storage = new FileStorage(process.argv[2] ?? '')
for (;;) process.send!(await storage.update(document => ++document.nextKey))
