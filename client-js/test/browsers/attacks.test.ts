// What docs/decisions/58-attacks-on-the-extension.md lists. One start of the
// servers and of each browser serves all attacks.
import { after, before, describe, test } from 'node:test'
import { build } from 'esbuild'
import { fileURLToPath } from 'node:url'
import { browserNames } from '../browsers.js'
import { type Attack, type Battlefield, startBattlefield, type World } from '../hostile.js'
import { bridging } from './attacks/bridging.js'
import { draining } from './attacks/draining.js'
import { foreign } from './attacks/foreign.js'
import { navigating } from './attacks/navigating.js'
import { quoting } from './attacks/quoting.js'

const attacks: Attack[] = [...draining, ...foreign, ...bridging, ...quoting, ...navigating]

/** The library as a page loads it. */
async function bundleLibrary(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../../src/index.js', import.meta.url))],
    bundle: true, format: 'iife', globalName: 'payword', write: false, logLevel: 'warning',
  })
  return outputFiles[0]?.text ?? ''
}

let field: Battlefield

before(async () => {
  field = await startBattlefield(attacks, await bundleLibrary())
})
after(() => field?.close())

for (const name of browserNames) {
  describe(name, () => {
    let world: World
    before(async () => {
      world = await field.startWorld(name)
    })
    after(() => world?.close())
    for (const attack of attacks) {
      if (attack.only !== undefined && attack.only !== name) continue
      test(`${name}: ${attack.title}`, { timeout: 60_000 }, () => world.run(attack))
    }
  })
}
