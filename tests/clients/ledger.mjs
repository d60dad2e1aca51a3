// What every delegation has earned, computed from blocks, their certificates and logs: nothing is taken from the modules'
// own sums. Written from docs/protocol.md, not from the node's code.
import { decodeEventLog, hexToBytes, numberToHex } from 'viem'

const YEAR_MS = 31_536_000_000n
const SIX_HOURS_MS = 6n * 3_600_000n
const FRACTION = 96n
const max = (a, b) => (a > b ? a : b)
const min = (a, b) => (a < b ? a : b)

export class Ledger {
  constructor({ client, rpc, modules, chain }) {
    Object.assign(this, { client, rpc, modules, chain })
    this.validators = new Map() // id -> { shares, perShare, remainder, commissionDue, owner }
    this.held = new Map() // "id:delegator" -> { shares, settled, accrued }
    this.ids = new Map() // consensus key -> id
    this.bonus = new Map()
    this.missed = new Map()
    this.fees = 0n
    this.claims = []
    this.expectedClaims = []
    this.outstanding = 0n
    this.epochs = 0
  }

  entry(id, delegator) {
    const name = `${id}:${delegator.toLowerCase()}`
    if (!this.held.has(name)) this.held.set(name, { shares: 0n, settled: 0n, accrued: 0n })
    return this.held.get(name)
  }

  settle(id, delegator) {
    const entry = this.entry(id, delegator)
    const { perShare } = this.validators.get(id)
    entry.accrued += ((perShare - entry.settled) * entry.shares) >> FRACTION
    entry.settled = perShare
    return entry
  }

  pending(id, delegator) {
    const { accrued } = this.settle(id, delegator)
    const { owner, commissionDue } = this.validators.get(id)
    return accrued + (owner.toLowerCase() === delegator.toLowerCase() ? commissionDue : 0n)
  }

  delegations() {
    return [...this.held.keys()].map(name => ({ id: Number(name.split(':')[0]), delegator: name.split(':')[1] }))
  }

  async replay(head) {
    const genesis = await this.client.getBlock({ blockNumber: 0n })
    const params = await this.rpc('bttc_params', '0x0')
    const number = name => BigInt(params[name])
    const unit = number('powerUnit') * 10n ** 18n
    const blocks = number('epochBlocks')
    this.pool = await this.client.readContract({ ...this.modules.rewards, functionName: 'rewardPool', blockNumber: 0n })
    // The genesis set: shares are its stake.
    const first = (await this.rpc('bttc_validators', '0x1')).validators
    for (const member of first) {
      const id = await this.client.readContract({ ...this.modules.staking, functionName: 'validatorOf', args: [member.address], blockNumber: 0n })
      const shares = BigInt(member.power) * unit
      this.add(id, member.owner, member.address)
      this.entry(id, member.owner).shares = shares
      this.validators.get(id).shares = shares
    }
    let paidUntil = genesis.timestamp * 1000n
    let parentTime = paidUntil
    let set = first
    let priorities = new Map(first.map(v => [v.address, 0n]))
    for (let height = 1n; height <= head; height++) {
      const block = await this.client.getBlock({ blockNumber: height })
      const signedSet = set
      if ((height - 1n) % blocks === 0n) {
        set = (await this.rpc('bttc_validators', numberToHex(height))).validators
        priorities = new Map(set.map(v => [v.address, 0n]))
      }
      const extra = hexToBytes(block.extraData)
      const round = new DataView(extra.buffer, extra.byteOffset).getUint32(1)
      const time = block.timestamp * 1000n + BigInt(new DataView(extra.buffer, extra.byteOffset).getUint16(5))
      const next = step(set, priorities)
      const proposer = round === 0 ? next.picked : later(set, next.priorities, round)
      priorities = next.priorities
      if (height > 1n) {
        const { lastCommit } = await this.rpc('bttc_block', numberToHex(height))
        this.count(signedSet, lastCommit.signatures.map(s => Number(s.index)), proposer)
      }
      if (height > 1n && (height - 1n) % blocks === 0n) {
        const elapsed = min(max(parentTime - paidUntil, 0n), SIX_HOURS_MS)
        paidUntil = parentTime
        await this.pay(signedSet, elapsed, { unit, blocks, rate: number('rewardRateBps'), bonus: number('proposerBonusBps'), height })
      }
      await this.apply(block)
      this.fees += block.baseFeePerGas * block.gasUsed
      this.pool += block.baseFeePerGas * block.gasUsed
      parentTime = time
    }
  }

  add(id, owner, key) {
    this.validators.set(id, { shares: 0n, perShare: 0n, remainder: 0n, commissionDue: 0n, owner })
    this.ids.set(key.toLowerCase(), id)
  }

  /// The signatures that a block carries for its parent.
  count(set, signers, proposer) {
    let [included, total] = [0n, 0n]
    set.forEach((member, index) => {
      const id = this.ids.get(member.address.toLowerCase())
      total += BigInt(member.power)
      if (signers.includes(index)) included += BigInt(member.power)
      else this.missed.set(id, (this.missed.get(id) ?? 0n) + 1n)
    })
    const excess = 3n * included - 2n * total
    const id = this.ids.get(proposer.toLowerCase())
    const member = set.some(v => v.address.toLowerCase() === proposer.toLowerCase())
    if (member && excess > 0n) this.bonus.set(id, (this.bonus.get(id) ?? 0n) + excess)
  }

  /// Pays an epoch to the set that signed it.
  async pay(set, elapsed, { unit, blocks, rate, bonus, height }) {
    const total = set.reduce((sum, member) => sum + BigInt(member.power), 0n)
    const reward = (total * unit * rate * elapsed) / (10_000n * YEAR_MS)
    const available = min(reward + this.fees, this.pool)
    this.fees = 0n
    const extra = (available * bonus) / 10_000n
    const main = available - extra
    const weights = total * blocks
    for (const member of set) {
      const id = this.ids.get(member.address.toLowerCase())
      const validator = this.validators.get(id)
      const signed = blocks - (this.missed.get(id) ?? 0n)
      const part = (main * BigInt(member.power) * signed) / weights + (extra * (this.bonus.get(id) ?? 0n)) / weights
      this.missed.delete(id)
      this.bonus.delete(id)
      if (part === 0n || validator.shares === 0n) continue
      const at = { ...this.modules.staking, functionName: 'validator', args: [id], blockNumber: height - 1n }
      const { commissionBps } = await this.client.readContract(at)
      const commission = (part * BigInt(commissionBps)) / 10_000n
      validator.commissionDue += commission
      const rest = ((part - commission) << FRACTION) + validator.remainder
      validator.perShare += rest / validator.shares
      validator.remainder = rest % validator.shares
      this.pool -= part
      this.outstanding += part
    }
    this.epochs++
  }

  /// Delegations and claims of a block's transactions.
  async apply(block) {
    if (block.transactions.length === 0) return
    const logs = await this.client.getLogs({ address: this.modules.staking.address, blockHash: block.hash })
    for (const log of logs) {
      const { eventName, args } = decodeEventLog({ abi: this.modules.staking.abi, ...log })
      if (eventName === 'ValidatorCreated') this.add(args.id, args.owner, args.consensusKey)
      if (eventName === 'Delegated' || eventName === 'Undelegated') {
        const sign = eventName === 'Delegated' ? 1n : -1n
        this.settle(args.id, args.delegator).shares += sign * args.shares
        this.validators.get(args.id).shares += sign * args.shares
      }
      if (eventName === 'RewardsClaimed') {
        this.expectedClaims.push(this.pending(args.id, args.delegator))
        this.claims.push(args.amount)
        const validator = this.validators.get(args.id)
        if (validator.owner.toLowerCase() === args.delegator.toLowerCase()) validator.commissionDue = 0n
        this.entry(args.id, args.delegator).accrued = 0n
        this.outstanding -= args.amount
      }
    }
  }
}

/// One step of the proposers' rule. Powers here are far too close for the rescaling of the rule to matter.
function step(set, priorities) {
  const total = set.reduce((sum, v) => sum + BigInt(v.power), 0n)
  const sum = [...priorities.values()].reduce((a, b) => a + b, 0n)
  const count = BigInt(set.length)
  const average = sum >= 0n ? sum / count : -((-sum + count - 1n) / count)
  const next = new Map(set.map(v => [v.address, priorities.get(v.address) - average + BigInt(v.power)]))
  let picked
  for (const { address } of set) {
    const better = picked === undefined || next.get(address) > next.get(picked)
      || (next.get(address) === next.get(picked) && address.toLowerCase() < picked.toLowerCase())
    if (better) picked = address
  }
  next.set(picked, next.get(picked) - total)
  return { picked, priorities: next }
}

/// The proposer of a later round: where the rotation would be after as many steps.
function later(set, priorities, rounds) {
  let picked
  for (let i = 0; i < rounds; i++) ({ picked, priorities } = step(set, priorities))
  return picked
}
