import { commitmentOf, type VectorBrokers } from '../vectors/inputs.js'
import { testVectors } from '../vectors/vectors.js'
import type { Reason } from '../../src/reason.js'
import { State } from './state.js'

interface Step {
  do: string
  chain?: number
  index?: number
  number?: number
  request?: string
  price?: string
  amount?: string
  unsafe?: boolean
  single?: boolean
  overMax?: boolean
  now?: number
  sequence?: number
}

interface StateInput {
  commitment: string
  brokers: VectorBrokers
  cap: string
  steps: Step[]
}

function take(state: State, step: Step): { reason?: Reason, [member: string]: unknown } {
  const { chain = 0, index = 0, number = 0, request = '', price = '0', amount = '0', now = 0, sequence = 0 } = step
  switch (step.do) {
    case 'charge': {
      const { reason, isRepeat } = state.charge({
        chain, tail: { index, payword: '' }, number, request, price: BigInt(price), now,
        isUnsafe: step.unsafe ?? false, isSingle: step.single ?? false, isOverMax: step.overMax ?? false
      })
      return { reason, repeat: isRepeat }
    }
    case 'give-back': return { returned: state.giveBack(number, now) }
    case 'top-up': return { changed: state.topUp(BigInt(amount), sequence) }
    case 'claimable': return { claimable: state.claimable(now) }
    case 'close':
      state.isClosed = true
      return {}
    default: throw new Error(`a step that does ${step.do}`)
  }
}

testVectors<StateInput>('state', async input => {
  const state = new State(await commitmentOf(input), BigInt(input.cap))
  let expect: Reason = 'accepted'
  const outcomes = input.steps.map(step => {
    const came = take(state, step)
    expect = came.reason ?? expect
    return { ...came, spent: state.spent, credit: state.credit }
  })
  return { expect, output: { outcomes } }
})
