// Removes what the compiler wrote of the library, so that no file of a source
// that is gone is published. The extension in dist/extension stays.
import { readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const dist = join(dirname(dirname(fileURLToPath(import.meta.url))), 'dist')
let names = []
try {
  names = readdirSync(dist)
} catch (error) {
  if (error.code !== 'ENOENT') throw error
}
for (const name of names) {
  if (name !== 'extension') rmSync(join(dist, name), { recursive: true })
}
