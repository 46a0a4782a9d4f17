// Builds the browser extension: a folder and a zip for each browser, of one
// source. `node scripts/extension.mjs` writes dist/extension/{chromium,firefox};
// with `--for-tests` build/extension/{chromium,firefox}, whose only difference is
// that sites on this machine need no click on the browser's own question, which
// nobody can do in a browser without a window.
// The same source gives the same bytes.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { crc32, deflateRawSync } from 'node:zlib'
import { build } from 'esbuild'

const folder = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(folder, 'extension')
const isForTests = process.argv.includes('--for-tests')
const target = join(folder, isForTests ? 'build' : 'dist', 'extension')

// The oldest browsers with everything that is used: Ed25519 in WebCrypto, and in
// Firefox the declaration of what data is collected.
const oldest = { chromium: '137', firefox: '140.0' }

const loopback = ['http://localhost/*', 'http://127.0.0.1/*']

function manifestFor(browser) {
  const manifest = JSON.parse(readFileSync(join(source, 'src', 'manifest.json'), 'utf8'))
  manifest.version = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
  if (browser === 'chromium') {
    manifest.minimum_chrome_version = oldest.chromium
    manifest.background = { service_worker: 'worker.js' }
  } else {
    manifest.background = { scripts: ['worker.js'] }
    manifest.browser_specific_settings = {
      gecko: {
        id: 'extension@payword.example',
        strict_min_version: oldest.firefox,
        data_collection_permissions: { required: ['financialAndPaymentInfo'] },
      },
      // Knows that declaration since 142.
      gecko_android: { strict_min_version: '142.0' },
    }
  }
  if (isForTests) {
    manifest.host_permissions = loopback
    manifest.optional_host_permissions = manifest.optional_host_permissions.filter(pattern => !loopback.includes(pattern))
  }
  return manifest
}

function filesIn(of) {
  if (!existsSync(of)) return []
  return readdirSync(of).sort().flatMap(name => {
    const path = join(of, name)
    return statSync(path).isDirectory() ? filesIn(path) : [path]
  })
}

// Everything of extension/pages but TypeScript, and extension/icons, as it is.
function copyStatic(to) {
  for (const part of ['pages', 'icons']) {
    for (const path of filesIn(join(source, part))) {
      if (path.endsWith('.ts')) continue
      const below = relative(part === 'pages' ? join(source, part) : source, path)
      mkdirSync(dirname(join(to, below)), { recursive: true })
      cpSync(path, join(to, below))
    }
  }
}

// extension/languages/de.json becomes _locales/de/messages.json. A text is a
// string, or what the browsers' format has.
function copyLanguages(to, manifest) {
  for (const path of filesIn(join(source, 'languages')).filter(path => path.endsWith('.json'))) {
    const texts = JSON.parse(readFileSync(path, 'utf8'))
    const messages = Object.fromEntries(Object.entries(texts).map(([key, text]) =>
      [key, typeof text === 'string' ? { message: text } : text]))
    const into = join(to, '_locales', basename(path, '.json'))
    mkdirSync(into, { recursive: true })
    writeFileSync(join(into, 'messages.json'), JSON.stringify(messages, undefined, 1))
    manifest.default_locale = 'en'
  }
}

function addIcons(to, manifest) {
  const icons = {}
  for (const size of ['16', '32', '48', '128']) {
    if (existsSync(join(to, 'icons', `${size}.png`))) icons[size] = `icons/${size}.png`
  }
  if (Object.keys(icons).length === 0) return
  manifest.icons = icons
  manifest.action.default_icon = icons
}

// A browser refuses a manifest that names a page that there is not.
function dropMissingPages(to, manifest) {
  if (!existsSync(join(to, manifest.action.default_popup))) delete manifest.action.default_popup
  if (!existsSync(join(to, manifest.options_ui.page))) delete manifest.options_ui
}

// The policy of the extension's pages allows no WebAssembly, so the one for long
// chains is not in it (docs/decisions/66-a-webassembly-kernel-for-chains.md).
const withoutWebAssembly = {
  name: 'without WebAssembly',
  setup({ onLoad }) {
    onLoad({ filter: /[/\\]src[/\\]chain_wasm\.ts$/ }, () => ({ contents: 'export const chainWasm = \'\'' }))
  },
}

async function bundle(browser, to) {
  const pages = filesIn(join(source, 'pages')).filter(path => path.endsWith('.html'))
    .map(path => path.replace(/\.html$/, '.ts')).filter(path => existsSync(path))
  await build({
    absWorkingDir: folder,
    entryPoints: [join(source, 'src', 'worker.ts'), join(source, 'src', 'content.ts'), ...pages],
    entryNames: '[name]',
    outdir: to,
    bundle: true,
    format: 'iife',
    target: ['es2022'],
    charset: 'utf8',
    legalComments: 'inline',
    plugins: [withoutWebAssembly],
    define: { 'globalThis.paywordBrowser': JSON.stringify(browser) },
    logLevel: 'warning',
  })
}

// A zip without times and owners, so that it can be made again and compared.
function zip(from) {
  const local = []
  const central = []
  let offset = 0
  for (const path of filesIn(from)) {
    const name = Buffer.from(relative(from, path).split('\\').join('/'))
    const content = readFileSync(path)
    const packed = deflateRawSync(content, { level: 9 })
    // Version 2.0, UTF-8 names, deflate, and the first day that a zip can name.
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0)
    common.writeUInt16LE(0x0800, 2)
    common.writeUInt16LE(8, 4)
    common.writeUInt16LE(0x0021, 8)
    common.writeUInt32LE(crc32(content), 10)
    common.writeUInt32LE(packed.length, 14)
    common.writeUInt32LE(content.length, 18)
    common.writeUInt16LE(name.length, 22)
    local.push(Buffer.from('PK\x03\x04', 'latin1'), common, name, packed)
    const rest = Buffer.alloc(14)
    rest.writeUInt32LE(offset, 10)
    central.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, rest, name)
    offset += 4 + common.length + name.length + packed.length
  }
  const count = central.length / 4
  const size = central.reduce((sum, part) => sum + part.length, 0)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(count, 8)
  end.writeUInt16LE(count, 10)
  end.writeUInt32LE(size, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...local, ...central, end])
}

// Nothing else of the folder: build/extension also has what the compiler wrote.
for (const browser of ['chromium', 'firefox']) {
  const to = join(target, browser)
  rmSync(to, { recursive: true, force: true })
  mkdirSync(to, { recursive: true })
  const manifest = manifestFor(browser)
  copyStatic(to)
  copyLanguages(to, manifest)
  addIcons(to, manifest)
  dropMissingPages(to, manifest)
  await bundle(browser, to)
  writeFileSync(join(to, 'manifest.json'), JSON.stringify(manifest, undefined, 2))
  writeFileSync(join(target, `payword-${browser}-${manifest.version}.zip`), zip(to))
}
