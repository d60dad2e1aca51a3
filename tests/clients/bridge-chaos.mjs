// 200 transfers while the relayer is killed at random points, a validator, an endpoint and a whole root chain go away and come
// back, and a second relayer runs along. Every transfer must end exactly once. At the end all root chains hang for a while,
// and blocks must go on.
//
//   node bridge-chaos.mjs DEVNET.json [--transfers N] [--seed N]
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { LEDGER, World, sleep, until } from './bridge.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const file = process.argv[2]
const option = (name, value) => (process.argv.includes(name) ? Number(process.argv[process.argv.indexOf(name) + 1]) : value)
const transfers = option('--transfers', 200)
let state = option('--seed', 7)
const random = (n) => {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0
  return Math.floor((state / 2 ** 32) * n)
}
const assert = (condition, words) => {
  if (!condition) throw new Error(words)
}
const read = () => JSON.parse(fs.readFileSync(file, 'utf8'))
const dir = path.dirname(file)
const bttc = fs.readFileSync(path.join(dir, 'binary'), 'utf8').trim()
const devnet = (...args) => {
  const done = spawnSync(path.join(here, '../../scripts/devnet'), [...args, '--dir', dir], { encoding: 'utf8', env: { ...process.env, BTTC_BIN: bttc } })
  if (done.status !== 0) throw new Error(`devnet ${args.join(' ')}: ${done.stderr}`)
}
const began = Date.now()
const say = (text) => console.log(`[${((Date.now() - began) / 1000).toFixed(0).padStart(3)} s] ${text}`)
const children = []

/** Root chains that the devnet started; a TRON node of somebody else's is left alone. */
const ours = () => read().rootChains.filter((root) => !root.external)

/** A relayer of ours on a home, with the chains of the devnet. */
function relayer(home) {
  const log = fs.openSync(path.join(home, 'chaos.log'), 'a')
  const chains = read().rootChains.flatMap((root) => ['--chain', root.line])
  const args = ['relayer', 'start', '--home', home, '--password-file', path.join(dir, 'password'), '--rpc', read().validators[0].rpc, '--poll-ms', '300', '--ops', '127.0.0.1:0', ...chains]
  const child = spawn(bttc, args, { stdio: ['ignore', log, log] })
  children.push(child)
  return child
}

const gone = (child) => new Promise((done) => (child.exitCode !== null || child.signalCode !== null ? done() : child.once('exit', done)))

async function main() {
  const world = new World(file)
  // A transaction that TRON took and lost with its process is sent again.
  world.root('tron').patience = 15
  for (const root of world.roots) {
    await until(`mapping on ${root.name}`, async () => {
      const chains = await world.bttc.request({ method: 'bttc_rootChains' })
      return Number(chains.find((chain) => Number(chain.rootChainId) === root.chainId).watched.commandsDone) >= root.tokens.length
    })
  }
  // The devnet's own relayer makes room for one that is killed, on the same home, and a second one with another key.
  const own = read().relayer
  try { process.kill(own.pid, 'SIGKILL') } catch {}
  await until('end of the relayer', () => { try { process.kill(own.pid, 0); return false } catch { return true } })
  const second = path.join(dir, 'relayer2')
  fs.rmSync(second, { recursive: true, force: true })
  {
    const secret = path.join(dir, '.second')
    fs.writeFileSync(secret, world.keys[7], { mode: 0o600 })
    const made = spawnSync(bttc, ['keys', 'import', 'relayer', '--home', second, '--secret-file', secret, '--password-file', path.join(dir, 'password')], { encoding: 'utf8' })
    fs.rmSync(secret)
    assert(made.status === 0, made.stderr)
  }
  relayer(second)
  let first = relayer(own.home)
  let over = false
  let kills = 0
  const killer = (async () => {
    while (!over) {
      await sleep(1_500 + random(6_000))
      first.kill('SIGKILL')
      await gone(first)
      kills += 1
      await sleep(random(1_500))
      first = relayer(own.home)
    }
  })()
  const accidents = (async () => {
    await sleep(8_000)
    say('a validator is killed')
    devnet('kill', 'v3')
    await sleep(12_000)
    devnet('start', 'v3')
    say('it is back; BNB Chain hangs')
    const bsc = read().rootChains.find((root) => root.name === 'bsc').pid
    process.kill(bsc, 'SIGSTOP')
    await sleep(15_000)
    process.kill(bsc, 'SIGCONT')
    say('it goes on; TRON is killed')
    const tron = ours().find((root) => root.name === 'tron')
    if (tron) process.kill(tron.pid, 'SIGKILL')
    else say('skipped: TRON is not ours to kill')
    await sleep(10_000)
    devnet('up', '--detach')
    const again = read().relayer
    // `up` starts its relayer too; its store is held by ours, so that it has ended.
    say(`TRON is back with its blocks (relayer of the devnet: ${again.pid})`)
  })()

  // Half of them come in, half go out; each has an amount of its own, so that each can be told from the others.
  const trips = []
  const perRoot = Math.floor(transfers / 2 / world.roots.length)
  for (const root of world.roots) {
    const token = root.tokens.find((entry) => entry.symbol.startsWith('TEST'))
    const before = await world.balance(token, 1)
    const receiver = world.users[6].address
    const rootBefore = await root.balance(token, receiver)
    const amounts = Array.from({ length: perRoot }, (_, index) => 10n ** 15n + BigInt(index + 1))
    trips.push({ root, token, before, receiver, rootBefore, amounts, total: amounts.reduce((a, b) => a + b, 0n) })
  }
  const patient = async (work) => {
    for (let tries = 0; ; tries++) {
      try { return await work() } catch (error) {
        if (tries > 60) throw error
        await sleep(1_000)
      }
    }
  }
  say(`${perRoot * world.roots.length} deposits`)
  await Promise.all(trips.map(async (trip) => {
    let done = 0n
    for (const amount of trip.amounts) {
      // A deposit that was sent before the chain went away may be there: what the gateway has counts.
      await patient(async () => {
        const there = await deposited(world, trip, done)
        if (!there) await trip.root.deposit(trip.token, 0, amount, world.users[1].address)
      })
      done += amount
    }
  }))
  await accidents
  await Promise.all(trips.map((trip) => until(`credits of ${trip.root.name}`, async () => (await world.balance(trip.token, 1)) === trip.before + trip.total, 200)))
  say('every deposit is credited exactly once; as many withdrawals')
  for (const trip of trips) {
    for (const amount of trip.amounts) await patient(() => world.withdraw(trip.token, 1, amount, trip.receiver))
  }
  await Promise.all(trips.map((trip) => until(`payouts on ${trip.root.name}`, async () => (await trip.root.balance(trip.token, trip.receiver)) === trip.rootBefore + trip.total, 280)))
  over = true
  await killer
  say(`every withdrawal is paid exactly once; the relayer was killed ${kills} times`)
  assert(kills >= 3, 'the relayer was hardly killed')
  await sleep(5_000)
  for (const trip of trips) {
    assert((await world.balance(trip.token, 1)) === trip.before, `${trip.token.symbol}: the holder's balance is another one`)
    assert((await trip.root.balance(trip.token, trip.receiver)) === trip.rootBefore + trip.total, `${trip.token.symbol}: paid more than once`)
  }
  for (const root of world.roots) {
    for (const token of await world.tokens(root)) assert(token.locked === token.minted + token.parked, `${token.root}: locked is not minted + parked`)
  }
  say('locked = minted + parked for every token on every chain')

  // All endpoints hang.
  const paced = async () => {
    const from = await world.bttc.getBlockNumber()
    const end = Date.now() + 10_000
    while (Date.now() < end) {
      await world.wallet(2).sendTransaction({ to: world.users[3].address, value: 1n })
      await sleep(50)
    }
    return Number((await world.bttc.getBlockNumber()) - from)
  }
  const before = await paced()
  for (const root of ours()) process.kill(root.pid, 'SIGSTOP')
  const hanging = await paced()
  for (const root of ours()) process.kill(root.pid, 'SIGCONT')
  say(`blocks in 10 s: ${before} before, ${hanging} while all root chains hang`)
  assert(hanging * 2 > before, 'blocks slow down when root chains hang')
  console.log(`ok ${transfers} transfers each ended once; a second relayer changed nothing; blocks go on while root chains hang`)
}

/** Whether the gateway holds more than what was counted so far: a deposit whose answer was lost. */
async function deposited(world, trip, done) {
  const state = trip.stateBefore ?? (trip.stateBefore = await locked(trip))
  return (await locked(trip)) - state > done
}

async function locked(trip) {
  const holder = trip.root.hexGateway
  return trip.root.balance(trip.token, holder)
}

const finish = (code) => {
  for (const child of children) child.kill('SIGKILL')
  for (const root of ours()) try { process.kill(root.pid, 'SIGCONT') } catch {}
  process.exit(code)
}
main().then(() => finish(0), (error) => {
  console.error(error.shortMessage ?? error.message ?? error)
  if (process.env.DEBUG) console.error(error)
  finish(1)
})
