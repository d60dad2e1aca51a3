// Random transactions of every kind, for `anvil.mjs`: what is sent depends on the seed and on nonces only.
import { encodeFunctionData, getContractAddress, keccak256, numberToHex, pad, parseGwei, concatHex, size, slice, hexToBytes } from 'viem'
import { privateKeyToAccount, sign } from 'viem/accounts'

const word = (number) => pad(numberToHex(number), { size: 32 })
const zeros = (count) => `0x${'00'.repeat(count)}`
const ZERO = zeros(20)

/** Mulberry32. */
function randomness(seed) {
  const next = () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (limit) => Math.floor(next() * limit)
  const pick = (list) => list[below(list.length)]
  const bytes = (count) => `0x${Array.from({ length: count }, () => below(256).toString(16).padStart(2, '0')).join('')}`
  return { below, pick, bytes, chance: (share) => next() < share, weighted: (table) => pick(table.flatMap(([weight, value]) => Array(weight).fill(value))) }
}

/** Code that deploys this code. */
const deploying = (code) => concatHex([`0x61${numberToHex(size(code), { size: 2 }).slice(2)}80600a5f395ff3`, code])

/** Codes that end in every way there is, and some opcodes that no compiler writes. */
const RAW = {
  'stops': '0x00', 'undefined opcode': '0x0c', 'INVALID': '0xfe', 'stack underflow': '0x50', 'stack overflow': '0x5b5f5f56',
  'bad jump': '0x600356', 'return data out of bounds': '0x60015f5f3e00', 'endless loop': '0x5b5f56', 'empty revert': '0x5f5ffd',
  'CLZ': '0x60011e5f5260205ff3', 'write': '0x5f35600a55', 'set and clear': '0x60016001555f600155', 'clear': '0x5f600155', 'selfdestruct to the origin': '0x32ff',
  'empty log': '0x5f5fa0', 'memory beyond 64 bits': '0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff51', 'memory beyond gas': '0x6301000000' + '51',
  'calls itself': '0x5f5f5f5f5f305af1', 'burns a stipend': '0x5f355f5f5f5f4732620186a0f1', 'revert with a word': '0x7f4e487b710000000000000000000000000000000000000000000000000000000000' + '5f5260245ffd',
}

/** Initialization codes, most of which fail. */
const INIT = {
  'nothing': '0x', 'one byte': deploying('0x00'), 'revert': '0x60205ffd', 'INVALID': '0xfe', 'undefined opcode': '0x0c', 'endless loop': '0x5b5f56',
  'code that begins with EF': '0x60ef5f5360015ff3', 'the largest code': '0x6160005ff3', 'code too large': '0x6160015ff3', 'selfdestruct': '0x33ff',
  'writes and logs': '0x600160025560035f52600760205fa15f5ff3', 'underflow': '0x50', 'a log, then revert': '0x600760205fa15f5ffd', 'calls back': '0x5f5f5f5f5f335af15f5ff3',
}

/** A hash, a signature of it and its key. */
const P256 = ['ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb', 'ea2b24916bbc72afeb18114d344ad9eed265539c0a085324db159c1193a48d30', '23073b12a5137f481e446d9dbbd2e06a5588bc180b6bc0ebafc0a4744d01f270', 'eb284da6efa6c5b59f29774f8659d367f8b61bc1fc607184a7b6ecbb5a017921', '1e915f5cf3db226238f2bf8994c0cea25bcaba7121e1d9d72fecfe17e5873e50']

/** Calls of precompiles that succeed, as [address, input]. */
async function precompileCalls() {
  const address = (number) => pad(numberToHex(number), { size: 20 })
  const hash = keccak256('0x01')
  const { r, s, v } = await sign({ hash, privateKey: `0x${'11'.repeat(32)}` })
  const infinity = concatHex(['0xc0', zeros(47)])
  const versioned = '0x010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014'
  const modexp = (...parts) => concatHex([...parts.map((part) => word(size(part))), ...parts])
  const blake = (rounds, last) => concatHex([numberToHex(rounds, { size: 4 }), `0x${'5a'.repeat(208)}`, last])
  const pair = concatHex([word(1), word(2)])
  const calls = [
    [1, concatHex([hash, word(v), r, s])], [2, '0x616263'], [3, '0x616263'], [4, '0x0123'], [5, modexp('0x03', `0x${'ff'.repeat(40)}`, `0x${'fd'.repeat(32)}`)],
    [5, modexp(`0x${'07'.repeat(1024)}`, '0x03', `0x${'0b'.repeat(64)}`)], [6, concatHex([pair, pair])], [7, concatHex([pair, word(9)])], [8, '0x'], [8, zeros(192)],
    [9, blake(12, '0x01')], [10, concatHex([versioned, word(0), word(0), infinity, infinity])], [11, zeros(256)], [12, zeros(160)], [13, zeros(512)], [14, zeros(288)],
    [15, zeros(384)], [16, zeros(64)], [17, zeros(128)], [256, `0x${P256.join('')}`],
  ]
  const wrong = [[6, concatHex([word(1), word(1)])], [8, '0x01'], [9, blake(1, '0x02')], [10, zeros(192)], [5, modexp(zeros(1025), '0x', '0x03')], [15, '0x00'], [16, `0x${'ff'.repeat(64)}`], [256, '0x00'], [1, '0x']]
  return { calls: calls.map(([at, data]) => [address(at), data]), wrong: wrong.map(([at, data]) => [address(at), data]) }
}

/** The least gas that a transaction needs to be valid. */
function leastGas({ to, data = '0x', accessList = [], authorizationList = [] }) {
  const bytes = hexToBytes(data)
  const zero = bytes.filter((byte) => byte === 0).length
  const tokens = zero + 4 * (bytes.length - zero)
  const lists = accessList.reduce((sum, entry) => sum + 2400 + 1900 * entry.storageKeys.length, 25_000 * authorizationList.length)
  return Math.max(21_000 + 4 * tokens + lists + (to ? 0 : 32_000 + 2 * Math.ceil(bytes.length / 32)), 21_000 + 10 * tokens)
}

const AUTHORITIES = 8
const SET_UP = 'set-up'

/**
 * Transactions of all kinds, in bursts of which each can be in one block.
 * `runner` has the compiled runner's `abi` and `bytecode`; `accountOf` tells an account's next nonce and balance on the chain.
 */
export async function makeMix({ seed, chainId, keys, runner, accountOf, beneficiary }) {
  const { below, pick, bytes, chance, weighted } = randomness(seed)
  const precompiles = await precompileCalls()
  const accounts = keys.map((key) => privateKeyToAccount(key))
  const authorities = Array.from({ length: AUTHORITIES }, () => privateKeyToAccount(bytes(32)))
  const nonces = new Map()
  const created = { runners: [], raws: [], others: [] }
  const seen = [beneficiary, ...accounts.map((account) => account.address)]
  const run = (steps) => encodeFunctionData({ abi: runner.abi, functionName: 'run', args: [steps] })
  const step = (op, { to = ZERO, a = 0, b = 0, data = '0x' } = {}) => ({ op, to, a: BigInt(a), b: BigInt(b), data })
  const slot = () => below(8)
  const fresh = () => {
    const address = bytes(20)
    seen.push(address)
    return address
  }

  function initCode() {
    return weighted([[2, () => runner.bytecode], [2, () => deploying(pick(Object.values(RAW)))], [4, () => pick(Object.values(INIT))]])()
  }

  function enter(depth, targets, must) {
    const op = weighted([[6, 0], [4, 1], [4, 2], [1, 3]]) | must
    const value = op % 128 === 0 || op % 128 === 3 ? weighted([[6, 0], [3, below(1000)], [1, 10n ** 30n]]) : 0
    const gas = chance(0.15) ? below(30_000) : 0
    const to = (address, data = '0x') => step(op, { to: address, a: gas, b: value, data })
    return weighted([
      [8, () => to(pick(targets.runners), depth > 0 ? run(steps(depth - 1, targets)) : '0x')],
      [2, () => to(pick(created.raws), word(below(3)))],
      [2, () => to(...pick(precompiles.calls))],
      [1, () => to(...pick(precompiles.wrong))],
      [1, () => to(pick(seen), '0x12345678')],
      [1, () => to(fresh())],
    ])()
  }

  /** Steps for a runner. */
  function steps(depth, targets) {
    return Array.from({ length: 1 + below(5) }, () => {
      const must = chance(0.05) ? 0x80 : 0
      return weighted([
        [10, () => enter(depth, targets, must)],
        [2, () => step(4 | must, { b: weighted([[4, 0], [2, below(50)], [1, 10n ** 30n]]), data: initCode() })],
        [2, () => step(5 | must, { a: below(3), b: 0, data: initCode() })],
        [3, () => step(6, { to: pick(seen), a: below(5), b: below(1e6), data: bytes(below(70)) })],
        [5, () => step(7, { a: slot(), b: pick([0, 0, 1, below(1e9)]) })],
        [1, () => step(8, { a: slot(), b: below(100) })],
        [1, () => (depth < 3 ? step(9, { to: pick([...seen, ...targets.runners]) }) : step(22, { a: slot() }))],
        [depth < 3 ? 4 : 1, () => failing()],
        [2, () => step(20, { a: below(2) })],
        [2, () => step(21, { to: pick([...seen, ...targets.runners, ...created.raws, ...precompiles.calls.map(([to]) => to)]) })],
        [2, () => step(22, { a: slot() })],
        [1, () => step(23, { a: slot(), data: bytes(below(100)) })],
      ])()
    })
  }

  function failing() {
    const text = pick(['0x6e6f7420746f646179', '0x', '0xff00fe', '0x00000000', '0xe282ac20c3a9', `0x${'61'.repeat(200)}`])
    const data = pick(['0x', '0x08c379a0', '0x4e487b71', '0x4e487b710000', bytes(4), bytes(40), concatHex(['0x4e487b71', word(below(100))])])
    const op = 10 + below(10)
    return step(op, { a: op === 19 ? pick([3, 2 ** 20]) : below(5), data: op === 10 ? text : data })
  }

  const accessList = () =>
    Array.from({ length: below(4) }, () => ({
      address: pick([...seen, ...created.runners, pad('0x04', { size: 20 })]),
      storageKeys: Array.from({ length: below(4) }, () => word(slot())),
    }))

  /** A request without fees: recipient, value, data, gas. */
  function request(targets) {
    const anyone = [...targets.runners, ...created.raws, ...created.others]
    const gas = () => 100_000 + below(900_000)
    return weighted([
      [4, () => ({ to: pick(seen), value: below(1e9), kind: 'transfer' })],
      [4, () => ({ to: fresh(), value: 1 + below(1e9), gas: 21_000, kind: 'transfer to a new account' })],
      [2, () => ({ to: fresh(), kind: 'nothing to nobody' })],
      [2, () => ({ to: pick(seen), data: bytes(below(200)), kind: 'data for an account' })],
      [4, () => ({ to: pick(anyone), value: below(1e9), gas: gas(), kind: 'coins for a contract' })],
      [3, () => ({ to: pick(precompiles.calls)[0], value: below(2), gas: gas(), kind: 'coins for a precompile' })],
      [4, () => ({ ...to(pick(precompiles.calls)), gas: gas(), kind: 'precompile' })],
      [2, () => ({ ...to(pick(precompiles.wrong)), gas: gas(), kind: 'precompile that fails' })],
      [8, () => ({ data: initCode(), value: below(2) * below(1e6), gas: pick([gas(), gas(), 6_000_000]), kind: 'creation' })],
      [2, () => ({ data: runner.bytecode, extra: below(600_000), kind: 'creation out of gas' })],
      [6, () => ({ to: pick(created.raws), data: word(below(3)), gas: gas(), kind: 'odd code' })],
      [30, () => ({ to: pick(targets.runners), data: run(steps(3, targets)), value: below(2) * below(1e6), gas: gas(), kind: 'steps' })],
      [5, () => ({ to: pick(targets.runners), data: run(steps(2, targets)), extra: below(60_000), kind: 'steps out of gas' })],
      [2, () => ({ to: pick(targets.runners), data: run([6, 7, 8].map((op) => step(op, { a: slot(), b: 1 })).concat(failing())), gas: gas(), kind: 'revert of everything' })],
      [2, () => ({ to: pick(created.runners), data: run(factory()), gas: gas(), kind: 'made and destroyed' })],
    ])()
  }
  const to = ([address, data]) => ({ to: address, data })

  /** Makes a contract with CREATE2 and has it destroy itself within the transaction, after it got coins and wrote. */
  function factory() {
    const code = runner.bytecode
    const salt = below(2 ** 31)
    const at = pick(created.runners)
    const child = getContractAddress({ bytecode: code, from: at, opcode: 'CREATE2', salt: word(salt) })
    const inner = run([step(7, { a: 1, b: 5 }), step(9, { to: pick([...seen, child, fresh()]) })])
    return [step(0, { to: at, data: run([step(5, { a: salt, b: 0, data: code }), step(0, { to: child, b: below(2), data: inner }), ...(chance(0.5) ? [step(0, { to: child, b: 1 }), step(21, { to: child })] : [])]) })]
  }

  async function authorizations(index) {
    const list = []
    const count = 1 + below(3)
    const authority = authorities[index]
    for (let made = 0; made < count; made++) {
      const contractAddress = weighted([[6, () => pick(created.runners)], [1, () => ZERO], [1, () => pick(created.raws)], [1, () => pad('0x02', { size: 20 })], [1, () => pick(authorities).address], [1, () => pick(seen)]])()
      const nonce = nonces.get(authority.address)
      const wrong = weighted([[8, 'right'], [1, 'chain'], [1, 'nonce'], [1, 's']])
      const entry = await authority.signAuthorization({ contractAddress, chainId: wrong === 'chain' ? 1 : pick([0, chainId, chainId]), nonce: wrong === 'nonce' ? nonce + 1 : nonce })
      if (wrong === 's') entry.s = `0x${'f'.repeat(64)}`
      if (wrong === 'right') nonces.set(authority.address, nonce + 1)
      list.push(entry)
    }
    return list
  }

  /** Signs a request as a transaction of a random type. */
  async function signed(account, { extra, kind, ...wanted }) {
    const nonce = nonces.get(account.address)
    nonces.set(account.address, nonce + 1)
    const list = wanted.authorizationList
    const type = list ? 'eip7702' : weighted([[3, 'legacy'], [3, 'eip2930'], [5, 'eip1559']])
    const price = parseGwei(String(20 + below(20)))
    const tip = pick([0n, 1n, 1_000_000_000n, BigInt(below(5e9))])
    const fees = type === 'legacy' || type === 'eip2930' ? { gasPrice: price } : { maxFeePerGas: price, maxPriorityFeePerGas: tip }
    const content = { ...wanted, ...(type === 'legacy' || chance(0.5) ? {} : { accessList: accessList() }) }
    const least = leastGas(content)
    const gas = extra === undefined ? Math.max(least, content.gas ?? 0) : least + extra
    const raw = await account.signTransaction({ ...content, ...fees, type, chainId, nonce, gas: BigInt(gas), value: BigInt(content.value ?? 0) })
    if (!wanted.to) created[kind === SET_UP && wanted.data === runner.bytecode ? 'runners' : 'others'].push(getContractAddress({ from: account.address, nonce: BigInt(nonce) }))
    return { raw, hash: keccak256(raw), kind: `${kind}, ${type}`, from: account.address }
  }

  const known = async (list) => {
    const found = await Promise.all(list.map(({ address }) => accountOf(address)))
    list.forEach(({ address }, index) => nonces.set(address, found[index].nonce))
    return found
  }

  /** What the others need: runners and odd code, and coins for the authorities. */
  async function first() {
    await known([...accounts, ...authorities])
    const sent = []
    let from = 0
    const send = async (wanted) => sent.push(await signed(accounts[from++ % accounts.length], { kind: SET_UP, ...wanted }))
    for (let index = 0; index < 5; index++) await send({ data: runner.bytecode, value: 1_000_000, gas: 2_000_000 })
    for (const code of Object.values(RAW)) {
      await send({ data: deploying(code), gas: 200_000 })
      created.raws.push(created.others.pop())
    }
    for (const { address } of authorities) await send({ to: address, value: 10n ** 21n, gas: 21_000 })
    return sent
  }

  /** The next transactions, not more than so many. Authorities either sign for others or send themselves: their nonces are known then. */
  async function burst(most) {
    const found = await known(authorities)
    const sent = []
    if (chance(0.2)) {
      for (const [index, authority] of authorities.slice(0, most).entries()) {
        // Its code may have given its coins away.
        if (found[index].balance < 10n ** 18n) {
          sent.push(await signed(pick(accounts), { to: authority.address, value: 10n ** 20n, gas: 100_000, kind: 'coins for an account with code' }))
          continue
        }
        const own = { runners: [...created.runners, authority.address] }
        const wanted = { ...request(own), to: pick([authority.address, ...created.runners]), data: run(steps(2, own)), gas: 700_000, extra: undefined, kind: 'from an account with code' }
        if (chance(0.4)) {
          // Its own nonce is spent before its authorization counts.
          nonces.set(authority.address, found[index].nonce + 1)
          wanted.authorizationList = await authorizations(index)
          nonces.set(authority.address, found[index].nonce)
        }
        sent.push(await signed(authority, wanted))
      }
      return sent
    }
    const targets = { runners: [...created.runners, ...created.runners, ...authorities.map(({ address }) => address)] }
    while (sent.length < most) {
      if (chance(0.12)) {
        // One sponsor for each authority: the order of its authorizations is that of the sponsor's nonces.
        const index = below(AUTHORITIES)
        const wanted = { to: pick([authorities[index].address, ...created.runners]), data: run(steps(2, targets)), value: below(2), gas: 700_000, authorizationList: await authorizations(index), kind: 'set code' }
        sent.push(await signed(accounts[index % accounts.length], wanted))
      } else sent.push(await signed(pick(accounts), request(targets)))
    }
    return sent
  }
  return { first, burst }
}
