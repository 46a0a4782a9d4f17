// The house rules for TypeScript (CONTRIBUTING.md) that a program can check. The
// syntax tree is the compiler's own, by the interface that TypeScript 7 has for
// it, which may still change: if it does, this file alone is concerned.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { SyntaxKind, type Node, type SourceFile } from 'typescript/unstable/ast'
import { API } from 'typescript/unstable/sync'

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const maxFunctionLines = 70
const worthlessName = /^(utils?|commons?|helpers?|managers?)$/i

/** Parts of src that run in Node only. */
const forNode = (path: string): boolean => /^src\/(node\.ts|storage_file|command\/)/.test(path)

const functions = new Set([
  SyntaxKind.FunctionDeclaration, SyntaxKind.FunctionExpression, SyntaxKind.ArrowFunction, SyntaxKind.MethodDeclaration,
  SyntaxKind.Constructor, SyntaxKind.GetAccessor, SyntaxKind.SetAccessor,
])
const declarations = new Set([
  SyntaxKind.FunctionDeclaration, SyntaxKind.ClassDeclaration, SyntaxKind.InterfaceDeclaration, SyntaxKind.TypeAliasDeclaration,
  SyntaxKind.VariableStatement,
])
const named = new Set([...declarations, SyntaxKind.VariableDeclaration, SyntaxKind.MethodDeclaration, SyntaxKind.Parameter])

/** One finding: where, and what would be right. */
type Find = (node: Node, sentence: string) => void

interface Rule {
  name: string
  check(node: Node, file: SourceFile, path: string, find: Find): void
}

const textOf = (node: Node, file: SourceFile): string => file.text.slice(node.getStart(file), node.end)
const lineOf = (position: number, file: SourceFile): number => file.text.slice(0, position).split('\n').length

const linesOf = (node: Node, file: SourceFile): number => lineOf(node.end, file) - lineOf(node.getStart(file), file) + 1

/** Lines of the functions inside of a node, those inside of them included. */
function linesWithin(node: Node, file: SourceFile): number {
  let sum = 0
  node.forEachChild(child => {
    sum += functions.has(child.kind) ? linesOf(child, file) - 1 : linesWithin(child, file)
  })
  return sum
}

const rules: Rule[] = [
  {
    name: `functions have at most ${maxFunctionLines} lines`,
    check(node, file, path, find) {
      if (!functions.has(node.kind)) return
      // In tests a function may hold others, such as the tests of one pair of servers: those count by themselves.
      const lines = linesOf(node, file) - (path.startsWith('test/') ? linesWithin(node, file) : 0)
      if (lines > maxFunctionLines) find(node, `a function of ${lines} lines: want at most ${maxFunctionLines}`)
    },
  },
  {
    name: 'every export of src has a TSDoc comment',
    check(node, file, path, find) {
      if (!path.startsWith('src/') || !declarations.has(node.kind) || !textOf(node, file).startsWith('export ')) return
      const before = file.text.slice(node.pos, node.getStart(file)).trimEnd()
      if (!/\/\*\*[^]*\*\/$/.test(before)) find(node, 'an export without a comment /** … */ right above it')
    },
  },
  {
    name: 'no semicolon ends a line',
    check(node, file, _path, find) {
      if (node.kind === SyntaxKind.SourceFile || file.text[node.end - 1] !== ';') return
      // Between two statements of one line it is needed.
      if (/^[ \t]*(\/\/.*)?(\r?\n|$)/.test(file.text.slice(node.end))) find(node, 'a semicolon at the end of a line')
    },
  },
  {
    name: 'nothing is any, and strings have single quotes',
    check(node, file, _path, find) {
      if (node.kind === SyntaxKind.AnyKeyword) find(node, 'any: want a type, or unknown')
      if (node.kind === SyntaxKind.StringLiteral && /^"[^']*"$/.test(textOf(node, file))) find(node, 'double quotes: want single ones')
    },
  },
  {
    name: 'names say what a thing is',
    check(node, file, path, find) {
      if (node.kind === SyntaxKind.SourceFile && path.split(/[/._]/).some(part => worthlessName.test(part))) find(node, 'a file whose name says nothing')
      if (!named.has(node.kind) || !('name' in node) || node.name === undefined) return
      const name = textOf(node.name as Node, file)
      if (name.split(/(?=[A-Z])|_/).some(part => worthlessName.test(part))) find(node, `${name}: a name that says nothing`)
    },
  },
  {
    name: 'imports stay within their part',
    check(node, file, path, find) {
      if (node.kind !== SyntaxKind.ImportDeclaration && node.kind !== SyntaxKind.ExportDeclaration) return
      const from = /from '([^']+)'$|^import '([^']+)'$/.exec(textOf(node, file))
      const target = from?.[1] ?? from?.[2]
      if (target === undefined) return
      const inBrowsers = path.startsWith('src/') && !forNode(path) || path.startsWith('extension/')
      if (inBrowsers && target.startsWith('node:')) find(node, `${target}: this runs in browsers`)
      if (!target.startsWith('.')) return
      const imported = relative(folder, join(folder, dirname(path), target))
      if (inBrowsers && forNode(imported.replace(/\.js$/, '.ts'))) find(node, `${imported} runs in Node only`)
      const part = path.split('/')[0]
      if (part === 'src' && !imported.startsWith('src/')) find(node, `${imported}: what is published imports src alone`)
      if (part === 'extension' && !/^(src|extension)\//.test(imported)) find(node, `${imported}: the extension imports src and itself alone`)
    },
  },
  {
    name: 'no test is left out',
    check(node, file, path, find) {
      if (!path.startsWith('test/') || node.kind !== SyntaxKind.CallExpression) return
      if (/^(test|it|describe|suite|t|context)\.(skip|only|todo)\(/.test(textOf(node, file)) || /^test\([^{]*\{[^}]*\b(skip|only|todo):/.test(textOf(node, file))) {
        find(node, 'a test that does not run, or keeps others from running')
      }
    },
  },
]

/** Reads every source of a project and returns what breaks a rule, by the rule. */
function findings(project: string): { count: number, found: Map<string, string[]> } {
  const found = new Map<string, string[]>(rules.map(rule => [rule.name, []]))
  let count = 0
  const api = new API({ cwd: folder })
  try {
    const program = api.updateSnapshot({ openProjects: [project] }).getProject(project)?.program
    assert.ok(program, `the compiler opens ${project}`)
    for (const name of program.getSourceFileNames()) {
      const path = relative(dirname(project), name)
      if (path.startsWith('..') || path.startsWith('dist/') || path.includes('node_modules/') || path.endsWith('.json')) continue
      const file = program.getSourceFile(name)
      assert.ok(file, `the compiler reads ${path}`)
      count++
      const walk = (node: Node): void => {
        for (const rule of rules) {
          rule.check(node, file, path, (at, sentence) => found.get(rule.name)?.push(`${path}:${lineOf(at.getStart(file), file)}: ${sentence}`))
        }
        node.forEachChild(child => { walk(child) })
      }
      walk(file)
    }
  } finally {
    api.close()
  }
  return { count, found }
}

const own = findings(join(folder, 'tsconfig.test.json'))

test('the rules see all sources', () => {
  assert.ok(own.count > 10, `${own.count} files were read`)
})

for (const rule of rules) {
  test(rule.name, () => {
    assert.deepEqual(own.found.get(rule.name), [])
  })
}

/** Files that break each rule once, by the rule's number. */
const wrong: Record<string, [rule: number, text: string]> = {
  'src/long.ts': [0, `const long = () => {\n${'  //\n'.repeat(maxFunctionLines)}}\nlong()\n`],
  'src/bare.ts': [1, 'export interface Bare { size: number }\n'],
  'src/semicolon.ts': [2, 'let count = 1;\n'],
  'src/any.ts': [3, 'let loose: any\n'],
  'src/quotes.ts': [3, 'let word = "double"\n'],
  'src/util.ts': [4, 'let x = 1\n'],
  'src/named.ts': [4, 'class PaymentManager { size = 1 }\n'],
  'src/node_import.ts': [5, "import { readFileSync } from 'node:fs'\n"],
  'src/out.ts': [5, "import { x } from '../test/skips.js'\n"],
  'extension/out.ts': [5, "import { x } from '../src/command/main.js'\n"],
  'test/skips.ts': [6, "import { test } from 'node:test'\ntest.skip('x', () => { })\n"],
  'test/options.ts': [6, "import { test } from 'node:test'\ntest('x', { todo: true }, () => { })\n"],
}

test('each rule finds what breaks it', () => {
  const bad = mkdtempSync(join(tmpdir(), 'payword-house-'))
  try {
    writeFileSync(join(bad, 'tsconfig.json'), '{"compilerOptions": {"module": "NodeNext"}, "include": ["."]}')
    for (const [path, [, text]] of Object.entries(wrong)) {
      mkdirSync(dirname(join(bad, path)), { recursive: true })
      writeFileSync(join(bad, path), text)
    }
    const { found } = findings(join(bad, 'tsconfig.json'))
    for (const [number, rule] of rules.entries()) {
      const want = Object.keys(wrong).filter(path => wrong[path]?.[0] === number).sort()
      const got = [...new Set((found.get(rule.name) ?? []).map(finding => finding.split(':')[0]))].sort()
      assert.deepEqual(got, want, rule.name)
    }
  } finally {
    rmSync(bad, { recursive: true })
  }
})
