// What docs/decisions/58-attacks-on-the-extension.md lists. One start of the
// servers and of the browser serves all attacks in it.
import { after, before, test } from 'node:test'
import { build } from 'esbuild'
import { fileURLToPath } from 'node:url'
import type { BrowserName } from '../../browsers.js'
import { type Attack, type Battlefield, startBattlefield, type World } from '../../hostile.js'
import { bridging } from './bridging.js'
import { draining } from './draining.js'
import { foreign } from './foreign.js'
import { navigating } from './navigating.js'
import { quoting } from './quoting.js'

/** All attacks, in the order of the decision. */
export const attacks: Attack[] = [...draining, ...foreign, ...bridging, ...quoting, ...navigating]

/** The library as a page loads it. */
async function bundleLibrary(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../../../src/index.js', import.meta.url))],
    bundle: true, format: 'iife', globalName: 'payword', write: false, logLevel: 'warning',
  })
  return outputFiles[0]?.text ?? ''
}

/** Tries all attacks in one browser. */
export function tryAttacks(name: BrowserName): void {
  let field: Battlefield
  let world: World
  before(async () => {
    field = await startBattlefield(attacks, await bundleLibrary())
    world = await field.startWorld(name)
  })
  after(async () => {
    await world?.close()
    await field?.close()
  })
  for (const attack of attacks) {
    if (attack.only !== undefined && attack.only !== name) continue
    test(attack.title, { timeout: 60_000 }, () => world.run(attack))
  }
}
