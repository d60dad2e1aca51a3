// The native modules with viem and their ABI files alone, on a running network: a validator joins and leaves, delegations
// change power, rewards are recomputed from blocks to the wei, a Solidity contract stakes, votes and claims.
//
// usage: node staking.mjs DEVNET_JSON   (BTTC_BIN names the binary, for keys and configuration)
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import path from 'node:path'
import { Wallet } from 'ethers'
import solc from 'solc'
import {
  concat, createPublicClient, createWalletClient, decodeEventLog, getContract, http, keccak256, numberToHex, parseEther, toHex,
} from 'viem'
import { privateKeyToAccount, sign } from 'viem/accounts'
import { Ledger } from './ledger.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const file = process.argv[2]
const dir = path.dirname(file)
const bttc = process.env.BTTC_BIN
const devnet = () => JSON.parse(readFileSync(file, 'utf8'))
const url = devnet().validators[0].rpc
const chain = { id: devnet().chainId, name: 'devnet', nativeCurrency: { name: 'BitTorrent', symbol: 'BTT', decimals: 18 }, rpcUrls: { default: { http: [url] } } }
const client = createPublicClient({ chain, transport: http(url), pollingInterval: 50 })
const accounts = devnet().accounts.map(a => privateKeyToAccount(a.privateKey))
const walletOf = account => createWalletClient({ chain, account, transport: http(url) })
const interfaces = path.join(here, '../../evm/modules/interfaces')
const abi = name => JSON.parse(readFileSync(path.join(interfaces, `${name}.json`), 'utf8'))
const MODULES = {
  staking: { address: '0x0000000000000000000000000000000000001000', abi: abi('IStaking') },
  governance: { address: '0x0000000000000000000000000000000000001002', abi: abi('IGovernance') },
  rewards: { address: '0x0000000000000000000000000000000000001003', abi: abi('IRewards') },
  btt: { address: '0x0000000000000000000000000000000000001010', abi: abi('IBtt') },
}
const { staking, governance, rewards, btt } =
  Object.fromEntries(Object.entries(MODULES).map(([name, module]) => [name, getContract({ ...module, client })]))
const rpc = async (method, ...params) => client.request({ method, params })
const check = async (name, run) => {
  await run()
  console.log(`ok ${name}`)
}
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const until = async (what, seconds, look) => {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`)
    await sleep(100)
  }
}
const mined = async hash => {
  const receipt = await client.waitForTransactionReceipt({ hash, timeout: 60_000 })
  assert.equal(receipt.status, 'success')
  return receipt
}
/// Simulates first, so that a refusal comes with its typed error, then sends.
const write = async (account, module, functionName, args, value = 0n) => {
  await client.simulateContract({ ...module, functionName, args, value, account })
  return mined(await walletOf(account).writeContract({ ...module, functionName, args, value }))
}
const refusal = async (promise, name) => {
  const error = await promise.then(() => assert.fail(`${name}: not refused`), error => error)
  const data = error.walk?.(e => e.data?.errorName)?.data
  assert.equal(data?.errorName, name, error.message)
  return data.args
}
const params = await rpc('bttc_params', 'latest')
const epochBlocks = BigInt(params.epochBlocks)
const unit = BigInt(params.powerUnit) * 10n ** 18n
const epochOf = height => (BigInt(height) - 1n) / epochBlocks
const setAt = async height => (await rpc('bttc_validators', numberToHex(height))).validators
const height = () => client.getBlockNumber({ cacheTime: 0 })
/// An idle network makes a block every two seconds.
const reach = async target =>
  until(`block ${target}`, 60 + Number(target - (await height())) * 3, async () => (await height()) >= target)
const powerOf = async (key, at) => {
  const entry = (await setAt(at)).find(v => v.address.toLowerCase() === key.toLowerCase())
  return entry ? BigInt(entry.power) : 0n
}
const run = (...words) => execFileSync(bttc, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const script = (...words) =>
  execFileSync(path.join(here, '../../scripts/devnet'), [...words, '--dir', dir], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, BTTC_BIN: bttc } })

// ---- A full node becomes a validator: its keys sign with this library, its owner is a funded account ----
const owner = accounts[4]
let key
await check('a fifth validator joins with an unmodified library and signs two epochs later', async () => {
  script('full', 'add', 'dora')
  const home = path.join(dir, 'dora')
  const password = readFileSync(path.join(dir, 'password'), 'utf8').trim()
  for (const role of ['consensus', 'bridge']) run('keys', 'new', role, '--home', home)
  const secret = async role =>
    (await Wallet.fromEncryptedJson(readFileSync(path.join(home, 'keys', `${role}.json`), 'utf8'), password)).privateKey
  const genesis = (await client.getBlock({ blockNumber: 0n })).hash
  const digest = role =>
    keccak256(concat([toHex('bttc-key:'), toHex(`bttc-${chain.id}-${genesis.slice(2, 34)}`), '0x00', owner.address, numberToHex(role, { size: 1 })]))
  assert.equal(await staking.read.keyDigest([owner.address, 1]), digest(1))
  const prove = async (name, role) => {
    const privateKey = await secret(name)
    return [privateKeyToAccount(privateKey).address, await sign({ hash: digest(role), privateKey, to: 'hex' })]
  }
  const [consensus, bridge] = [await prove('consensus', 1), await prove('bridge', 2)]
  key = consensus[0]

  const create = args => client.simulateContract({ ...MODULES.staking, functionName: 'createValidator', account: owner, ...args })
  const good = { args: [...consensus, ...bridge, 1000, 'dora'], value: parseEther('2000000') }
  await refusal(create({ ...good, args: [consensus[0], bridge[1], ...bridge, 1000, 'dora'] }), 'BadProof')
  await refusal(create({ ...good, args: [...consensus, ...bridge, 10_001, 'dora'] }), 'BadCommission')
  await refusal(create({ ...good, args: [...consensus, ...bridge, 1000, ''] }), 'BadName')
  const [, least] = await refusal(create({ ...good, value: parseEther('999999') }), 'AmountTooSmall')
  assert.equal(least, parseEther('1000000'))
  const receipt = await write(owner, MODULES.staking, 'createValidator', good.args, good.value)
  const id = await staking.read.validatorOf([owner.address])
  assert.equal(id, 5)
  const event = receipt.logs.map(log => decodeEventLog({ abi: MODULES.staking.abi, ...log })).find(e => e.eventName === 'ValidatorCreated')
  assert.equal(event.args.id, 5)
  await refusal(create(good), 'ValidatorExists')

  // The same node goes on as a validator.
  script('stop', 'dora')
  writeFileSync(path.join(home, 'config.new'), run('config', 'show', '--home', home, '--node.role', 'validator'))
  renameSync(path.join(home, 'config.new'), path.join(home, 'config.toml'))
  script('start', 'dora')

  const first = (epochOf(receipt.blockNumber) + 2n) * epochBlocks + 1n
  await reach(first + 3n * epochBlocks)
  assert.equal(await powerOf(key, first - 1n), 0n)
  // At most a third of the power of four thousand at once, all four members keep theirs.
  let at = first, power = 0n
  for (; power < 2000n; at += epochBlocks) {
    const next = await powerOf(key, at)
    const others = (await setAt(at)).reduce((sum, v) => sum + BigInt(v.power), 0n) - next
    assert.equal(others, 4000n)
    assert.ok(next > power && next - power <= (4000n + power) / 3n, `from ${power} to ${next}`)
    power = next
  }
  assert.equal(power, 2000n)
  let signed = 0
  for (let h = first; h < first + epochBlocks; h++) {
    const signatures = (await rpc('bttc_certificate', numberToHex(h))).signatures
    if (signatures.some(s => s.validator.toLowerCase() === key.toLowerCase())) signed++
  }
  assert.ok(signed > Number(epochBlocks) / 2, `${signed} blocks signed`)
})

await check('the staking command adds a sixth', async () => {
  script('validator', 'add', 'eve')
  const node = devnet().validators.find(v => v.name === 'eve')
  const eve = JSON.parse(run('stake', 'validators', '--json', '--rpc', node.rpc)).find(v => v.name === 'eve')
  assert.equal(eve.id, 6)
  const first = (epochOf(await height()) + 2n) * epochBlocks + 1n
  await reach(first)
  assert.equal(await powerOf(eve.consensusKey, first), 1000n)
})

await check('delegations change power', async () => {
  const delegator = accounts[1]
  const before = (await staking.read.validator([1]))
  const receipt = await write(delegator, MODULES.staking, 'delegate', [1], parseEther('500000.5'))
  let first = (epochOf(receipt.blockNumber) + 2n) * epochBlocks + 1n
  await reach(first)
  assert.equal(await powerOf(before.consensusKey, first - 1n), 1000n)
  assert.equal(await powerOf(before.consensusKey, first), 1500n)
  const [shares, amount] = await staking.read.delegation([1, delegator.address])
  assert.deepEqual([shares, amount], [parseEther('500000.5'), parseEther('500000.5')])
  const [most] = (await refusal(client.simulateContract({ ...MODULES.staking, functionName: 'undelegate', args: [1, parseEther('500001')], account: delegator }), 'AmountTooLarge')).slice(1)
  assert.equal(most, parseEther('500000.5'))
  const back = await write(delegator, MODULES.staking, 'undelegate', [1, parseEther('300000.5')])
  first = (epochOf(back.blockNumber) + 2n) * epochBlocks + 1n
  await reach(first)
  assert.equal(await powerOf(before.consensusKey, first), 1200n)
})

// ---- A contract ----
const compile = () => {
  const source = readFileSync(path.join(here, 'Staker.sol'), 'utf8')
  const input = {
    language: 'Solidity', sources: { 'Staker.sol': { content: source } },
    settings: { evmVersion: 'cancun', optimizer: { enabled: true, runs: 200 }, outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } },
  }
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: name => ({ contents: readFileSync(path.join(interfaces, name), 'utf8') }) }))
  assert.deepEqual((output.errors ?? []).filter(e => e.severity === 'error'), [])
  const { abi, evm } = output.contracts['Staker.sol'].Staker
  return { abi, bytecode: `0x${evm.bytecode.object}` }
}
const staker = compile()
const user = accounts[2]
const deployed = await mined(await walletOf(user).deployContract(staker))
const pool = { address: deployed.contractAddress, abi: staker.abi }
const look = async (functionName, args = [], value = 0n) =>
  (await client.simulateContract({ ...pool, functionName, args, value, account: user })).result

await check('a Solidity contract stakes, and a refusal is a typed error', async () => {
  await write(user, pool, 'stake', [1], parseEther('1000'))
  const [shares] = await staking.read.delegation([1, pool.address])
  assert.equal(shares, parseEther('1000'))
  const [selector, unknown] = await look('refused', [77], 5n * 10n ** 18n)
  assert.equal(selector, keccak256(toHex('UnknownValidator(uint32)')).slice(0, 10))
  assert.equal(unknown, 77)
  for (const address of Object.values(MODULES).map(m => m.address)) assert.equal(await look('codeOf', [address]), 1n)
})

await check('a call that fails leaves nothing behind', async () => {
  const before = await staking.read.delegation([1, pool.address])
  const totals = await staking.read.totals()
  assert.equal(await look('stakeInside', [1], parseEther('3')), false)
  await write(user, pool, 'stakeInside', [1], parseEther('3'))
  assert.deepEqual((await staking.read.delegation([1, pool.address])).slice(0, 2), before.slice(0, 2))
  assert.deepEqual(await staking.read.totals(), totals)
  assert.equal(await client.getBalance({ address: pool.address }), parseEther('3'))
})

await check('out of gas anywhere in the middle undoes everything and costs what was given', async () => {
  const outcomes = []
  for (let limit = 1_000n; limit <= 160_000n; limit += 3_000n) {
    const [good, used] = await look('stakeWithGas', [1, limit], parseEther('2'))
    if (!good && limit > 5_000n) assert.ok(used >= limit, `with ${limit}: ${used}`)
    outcomes.push(good)
  }
  assert.equal(outcomes.filter((good, i) => i > 0 && good !== outcomes[i - 1]).length, 1, 'one border between too little and enough')
  assert.equal(outcomes[0], false)
  assert.equal(outcomes.at(-1), true)
  await write(user, pool, 'stakeWithGas', [1, 40_000n], parseEther('2'))
})

await check('static, delegated and malformed calls, and value where none is taken', async () => {
  assert.deepEqual(await look('viaStatic', [1]), [true, false])
  assert.equal(await look('viaDelegate', [1], 10n ** 18n), false)
  assert.deepEqual(await look('valueToNonPayable', [1], 1n), [false, false, false])
  assert.deepEqual(await look('malformed'), [false, false, false])
  // An account that delegates to a module (EIP-7702) is not the module.
  const target = accounts[6]
  const authorization = await walletOf(target).signAuthorization({ contractAddress: MODULES.staking.address, executor: 'self' })
  await mined(await walletOf(target).sendTransaction({ authorizationList: [authorization], to: accounts[7].address, value: 1n }))
  assert.equal((await client.getCode({ address: target.address })).toLowerCase(), `0xef0100${MODULES.staking.address.slice(2)}`)
  const data = keccak256(toHex('validatorCount()')).slice(0, 10)
  await assert.rejects(client.call({ account: user, to: target.address, data }))
  const trace = await rpc('eth_createAccessList', { from: user.address, to: MODULES.staking.address, data }, 'latest')
  assert.equal(trace.error, undefined)
})

await check('the token view moves coins, and logs it', async () => {
  const [from, to] = [accounts[5], '0x00000000000000000000000000000000000b77c0']
  const receipt = await write(from, MODULES.btt, 'transfer', [to, 12345n])
  const event = decodeEventLog({ abi: MODULES.btt.abi, ...receipt.logs[0] })
  assert.equal(event.eventName, 'Transfer')
  assert.deepEqual([event.args.from, event.args.value], [from.address, 12345n])
  assert.equal(await client.getBalance({ address: to }), 12345n)
  const deadline = BigInt(Math.floor(Date.now() / 1000) + 3600)
  const signature = await from.signTypedData({
    domain: { name: await btt.read.name(), version: '1', chainId: chain.id, verifyingContract: MODULES.btt.address },
    types: { Permit: ['owner:address', 'spender:address', 'value:uint256', 'nonce:uint256', 'deadline:uint256'].map(f => ({ name: f.split(':')[0], type: f.split(':')[1] })) },
    primaryType: 'Permit', message: { owner: from.address, spender: user.address, value: 777n, nonce: 0n, deadline },
  })
  const [r, s, v] = [signature.slice(0, 66), `0x${signature.slice(66, 130)}`, parseInt(signature.slice(130), 16)]
  await write(user, MODULES.btt, 'permit', [from.address, user.address, 777n, deadline, v, r, s])
  await write(user, MODULES.btt, 'transferFrom', [from.address, to, 777n])
  assert.equal(await btt.read.balanceOf([to]), 13122n)
  assert.equal(await btt.read.allowance([from.address, user.address]), 0n)
})

await check('the contract votes with its stake, and its delegation counts', async () => {
  const receipt = await write(user, MODULES.governance, 'proposeText', ['Hello', 'A text'], parseEther('100'))
  const id = decodeEventLog({ abi: MODULES.governance.abi, ...receipt.logs[0] }).args.id
  await until('voting', 30, async () => (await governance.read.proposal([id])).status === 3)
  await write(user, pool, 'vote', [id])
  assert.equal((await governance.read.proposal([id])).yes, (await staking.read.delegation([1, pool.address]))[1])
})

// ---- Rewards ----
await check('rewards equal a recomputation from blocks alone, to the wei', async () => {
  await reach(((await height()) / epochBlocks + 1n) * epochBlocks + 2n)
  // A claim in the middle: what was paid and what waits must add up.
  await write(user, pool, 'claim', [1])
  await write(owner, MODULES.staking, 'claimRewards', [5])
  const head = await height()
  const ledger = new Ledger({ client, rpc, modules: MODULES, chain })
  await ledger.replay(head)
  const pairs = ledger.delegations()
  assert.ok(pairs.length >= 8, 'the delegations are there')
  let total = 0n
  for (const { id, delegator } of pairs) {
    const waiting = await client.readContract({ ...MODULES.rewards, functionName: 'pendingRewards', args: [id, delegator], blockNumber: head })
    assert.equal(waiting, ledger.pending(id, delegator), `validator ${id}, ${delegator}`)
    total += waiting
  }
  assert.ok(total > 0n)
  assert.deepEqual(ledger.claims, ledger.expectedClaims, 'what was claimed')
  assert.ok(ledger.claims.length >= 2)
  const at = { blockNumber: head }
  assert.equal(await rewards.read.outstanding(at), ledger.outstanding)
  assert.equal(await rewards.read.rewardPool(at), ledger.pool)
  console.log(`  ${ledger.epochs} epochs, ${pairs.length} delegations, ${total} wei wait, ${ledger.claims.length} claims`)
})

// ---- Leaving ----
await check('a validator leaves, and its stake is paid out after unbonding', async () => {
  const receipt = await write(owner, MODULES.staking, 'exit', [])
  const first = (epochOf(receipt.blockNumber) + 2n) * epochBlocks + 1n
  await reach(first + 3n * epochBlocks)
  await until('out of the set', 300, async () => (await powerOf(key, await height())) === 0n)
  const [entry] = await until('unbonding', 300, async () => {
    const list = await staking.read.unbondings([owner.address])
    return list.length === 1 && list[0].maturity > 0n ? list : undefined
  })
  assert.equal(entry.amount, parseEther('2000000'))
  assert.equal(entry.value, parseEther('2000000'))
  const block = await client.getBlock()
  console.log(`  matures ${Number(entry.maturity) / 1000 - Number(block.timestamp)} s from now`)
  await until('maturity', Number(params.unbondingSeconds) + 60, async () => (await client.getBlock()).timestamp * 1000n > entry.maturity)
  const before = await client.getBalance({ address: owner.address })
  // Anyone may do it for the owner.
  const paid = await write(user, MODULES.staking, 'withdraw', [owner.address])
  assert.equal(await client.getBalance({ address: owner.address }) - before, parseEther('2000000'))
  assert.equal(decodeEventLog({ abi: MODULES.staking.abi, ...paid.logs[0] }).args.amount, parseEther('2000000'))
})

await check('payments run no code of the receiver', async () => {
  await write(user, pool, 'unstake', [1, 2n ** 256n - 1n])
  await write(user, pool, 'arm', [])
  await until('maturity', Number(params.unbondingSeconds) + 300, async () => {
    const list = await staking.read.unbondings([pool.address])
    return list.every(e => e.maturity > 0n) && (await client.getBlock()).timestamp * 1000n > list[0].maturity
  })
  await write(user, pool, 'withdraw', [])
  assert.equal(await client.readContract({ ...pool, functionName: 'received' }), 0n)
  assert.equal((await staking.read.unbondings([pool.address])).length, 0)
})
console.log('all good')
