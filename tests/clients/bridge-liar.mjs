// One validator's endpoint of a root chain lies consistently: amounts in deposit logs, the running hash in them, and the
// gateway's own hash are forged. That validator attests what it was shown. Nothing false is credited, and it is slashed.
//
//   node bridge-liar.mjs DEVNET.json
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { encodeAbiParameters, keccak256, toBytes, decodeEventLog, encodeEventTopics } from 'viem'
import { World, until } from './bridge.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const file = process.argv[2]
const dir = path.dirname(file)
const bttc = fs.readFileSync(path.join(dir, 'binary'), 'utf8').trim()
const gatewayAbi = JSON.parse(fs.readFileSync(path.join(here, '../../bridge/contracts/artifacts/EvmGateway.json'), 'utf8')).abi
const stakingAbi = JSON.parse(fs.readFileSync(path.join(here, '../../evm/modules/interfaces/IStaking.json'), 'utf8'))
const STAKING = '0x0000000000000000000000000000000000001000'
const assert = (condition, words) => {
  if (!condition) throw new Error(words)
}
const devnet = (...args) => {
  const done = spawnSync(path.join(here, '../../scripts/devnet'), [...args, '--dir', dir], { encoding: 'utf8', env: { ...process.env, BTTC_BIN: bttc } })
  if (done.status !== 0) throw new Error(`devnet ${args.join(' ')}: ${done.stderr}`)
}
const word = (type, value) => [{ type }, value]
const hash = (...fields) => keccak256(encodeAbiParameters(fields.map(([type]) => type), fields.map(([, value]) => value)))

/** Forges every deposit: ten times the amount, and all hashes to match. */
function forger(root, bridgeId) {
  const depositType = keccak256(toBytes('Deposit(bytes32 bridgeId,uint64 rootChainId,address gateway,uint64 nonce,address token,address sender,address recipient,uint256 amount)'))
  const firstType = keccak256(toBytes('FirstAccumulator(bytes32 bridgeId,uint64 rootChainId,address gateway)'))
  const chain = BigInt(root.chainId)
  const accs = new Map([[0n, hash(word('bytes32', firstType), word('bytes32', bridgeId), word('uint64', chain), word('address', root.gateway))]])
  const known = new Map()
  const forge = (log) => {
    const { args } = decodeEventLog({ abi: gatewayAbi, eventName: 'Deposit', topics: log.topics, data: log.data })
    known.set(args.nonce, args)
    const before = accs.get(args.nonce - 1n)
    if (!before) return log
    const amount = args.amount * 10n
    const own = hash(word('bytes32', depositType), word('bytes32', bridgeId), word('uint64', chain), word('address', root.gateway), word('uint64', args.nonce), word('address', args.token), word('address', args.sender), word('address', args.recipient), word('uint256', amount))
    const acc = hash(word('bytes32', before), word('bytes32', own))
    accs.set(args.nonce, acc)
    return { ...log, data: encodeAbiParameters([{ type: 'address' }, { type: 'uint256' }, { type: 'bytes32' }], [args.recipient, amount, acc]) }
  }
  return { forge, latest: () => accs.get(BigInt(accs.size - 1)), size: () => accs.size }
}

async function main() {
  const world = new World(file)
  const root = world.root('ethereum')
  const state = await world.bttc.request({ method: 'bttc_bridgeState' })
  const watched = async () => (await world.bttc.request({ method: 'bttc_rootChains' })).find((chain) => chain.name === 'ethereum')
  await until('mapping', async () => Number((await watched()).watched.commandsDone) >= root.tokens.length)
  const before = Number((await watched()).depositNonce)
  assert(before === 0, 'this test wants a fresh network')
  const { forge, latest } = forger(root, state.bridgeId)
  const depositTopic = encodeEventTopics({ abi: gatewayAbi, eventName: 'Deposit' })[0]
  const accSelector = keccak256(toBytes('depositAcc()')).slice(0, 10)
  const proxy = http.createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const call = JSON.parse(body)
    const answer = await (await fetch(root.rpc, { method: 'POST', body, headers: { 'content-type': 'application/json' } })).json()
    if (call.method === 'eth_getLogs' && call.params[0].topics[0] === depositTopic) answer.result = answer.result.map(forge)
    if (call.method === 'eth_call' && (call.params[0].input ?? call.params[0].data) === accSelector) {
      // The logs that make up this state are read after it: look at them first.
      const logs = await (await fetch(root.rpc, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_getLogs', params: [{ address: root.gateway, topics: [depositTopic], fromBlock: '0x0', toBlock: 'finalized' }] }) })).json()
      logs.result.map(forge)
      if (logs.result.length) answer.result = latest()
    }
    response.end(JSON.stringify(answer))
  })
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done))
  const lying = `http://127.0.0.1:${proxy.address().port}`
  const home = path.join(dir, 'v3')
  devnet('stop', 'v3')
  const config = path.join(home, 'config.toml')
  fs.writeFileSync(config, fs.readFileSync(config, 'utf8').replaceAll(root.rpc, lying))
  devnet('start', 'v3')
  const keys = JSON.parse(spawnSync(bttc, ['keys', 'show', '--home', home], { encoding: 'utf8' }).stdout)
  const info = async () => {
    const id = await world.bttc.readContract({ address: STAKING, abi: stakingAbi, functionName: 'validatorOf', args: [keys.owner] })
    return world.bttc.readContract({ address: STAKING, abi: stakingAbi, functionName: 'validator', args: [id] })
  }
  const pool = (await info()).tokens
  console.log('ok one validator reads Ethereum through an endpoint that forges')
  const token = root.tokens.find((entry) => entry.symbol.startsWith('TEST'))
  const amount = 10n ** 18n
  const held = await world.balance(token, 1)
  // What is applied already is not attested: the relayer waits until everybody has signed.
  const { relayer, validators } = JSON.parse(fs.readFileSync(file, 'utf8'))
  process.kill(relayer.pid, 'SIGSTOP')
  try {
    await root.deposit(token, 0, amount, world.users[1].address)
    const ops = validators.find((node) => node.name === 'v3').ops
    const saw = async () => Number(/^bttc_bridge_deposits\{chain="ethereum"\} (\d+)/m.exec(await (await fetch(`${ops}/metrics`)).text())?.[1] ?? 0)
    await until('a look of the lied-to validator', async () => (await saw()) >= 1)
    await new Promise((done) => setTimeout(done, 3_000))
  } finally {
    process.kill(relayer.pid, 'SIGCONT')
  }
  await until('the true credit', async () => (await world.balance(token, 1)) === held + amount)
  console.log('ok the true amount is credited, by the others')
  await until('the accusation', async () => {
    const now = await world.bttc.request({ method: 'bttc_bridgeState' })
    return now.accused.length === 1 || (await info()).tombstoned
  }, 60)
  assert((await world.bttc.request({ method: 'bttc_bridgeState' })).halted === false, 'one in four halts the bridge')
  console.log('ok it stands accused, by the signature that it gossiped')
  const shown = await (await fetch(validators.find((node) => node.name === 'v3').rpc, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'bttc_rootChains', params: [] }) })).json()
  assert(/other deposits/.test(shown.result.find((chain) => chain.name === 'ethereum').watched.alarm ?? ''), 'the lied-to validator does not raise an alarm')
  console.log('ok its operator is told that its endpoint lies')
  await until('the slash', async () => (await info()).tombstoned, 90)
  const after = await info()
  assert(after.tokens === pool - pool / 20n, `its pool is ${after.tokens} of ${pool}`)
  console.log('ok it has lost 5 % of its pool and is out for ever')
  assert((await world.balance(token, 1)) === held + amount, 'something false was credited')
  const second = 2n * 10n ** 18n
  await root.deposit(token, 0, second, world.users[1].address)
  await until('a further credit', async () => (await world.balance(token, 1)) === held + amount + second)
  for (const entry of await world.tokens(root)) assert(entry.locked === entry.minted + entry.parked, 'locked is not minted + parked')
  console.log('ok the bridge goes on without it; locked = minted + parked')
  proxy.close()
}

main().then(() => process.exit(0), (error) => {
  console.error(error.shortMessage ?? error.message ?? error)
  if (process.env.DEBUG) console.error(error)
  process.exit(1)
})
