import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { Refusal } from '../../src/reason.js'

/** Where the vectors lie; tests run as build/test/vectors/*.js. */
export const vectorFolder = fileURLToPath(new URL('../../../../testdata/vectors/', import.meta.url))

/** One file of testdata/vectors: see its README. */
export interface Vector<Input> {
  name: string
  area: string
  comment: string
  expect: string
  input: Input
  output?: unknown
}

/** What an implementation made of a vector's input. */
export interface Outcome {
  expect: string
  output?: unknown
}

/** Returns the areas that have vectors. */
export function areas(): string[] {
  return readdirSync(vectorFolder, { withFileTypes: true }).filter(entry => entry.isDirectory()).map(({ name }) => name).sort()
}

/** Reads the vectors of an area. */
export function readVectors<Input>(area: string): Vector<Input>[] {
  return readdirSync(join(vectorFolder, area)).sort().map(file => {
    const vector = JSON.parse(readFileSync(join(vectorFolder, area, file), 'utf8')) as Vector<Input>
    assert.equal(`${vector.area}/${vector.name}.json`, `${area}/${file}`, 'a vector names its own file')
    return vector
  })
}

/** Runs every vector of an area. */
export function testVectors<Input>(area: string, run: (input: Input) => Outcome | Promise<Outcome>): void {
  const vectors = readVectors<Input>(area)
  assert.ok(vectors.length > 0, `no vectors of area ${area}`)
  for (const vector of vectors) {
    test(`vectors/${area}/${vector.name}`, async () => {
      const { expect, output } = await run(vector.input)
      assert.equal(expect, vector.expect, vector.comment)
      if (vector.output !== undefined) assert.deepEqual(plain(output), vector.output, vector.comment)
    })
  }
}

/** Returns a value as JSON has it: amounts as strings, maps as objects, what is undefined left out. */
export function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, member: unknown) => {
    if (typeof member === 'bigint') return member.toString()
    return member instanceof Map ? Object.fromEntries(member) as unknown : member
  })) as unknown
}

/** The outcome of something that may be refused. */
export function outcomeOf<T>(result: T | Refusal, output: (value: T) => unknown): Outcome {
  return result instanceof Refusal ? { expect: result.reason } : { expect: 'accepted', output: output(result) }
}
