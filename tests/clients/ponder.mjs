// Ponder, unmodified, follows a token on a running network: what was there before it started, then what happens live.
//
//   node ponder.mjs DEVNET.json
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import solc from 'solc'
import { createPublicClient, createWalletClient, defineChain, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const here = path.dirname(fileURLToPath(import.meta.url))
const devnet = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const { rpc: url, ws } = devnet.validators[0]
const chain = defineChain({ id: devnet.chainId, name: 'bttc', nativeCurrency: { name: 'BTT', symbol: 'BTT', decimals: 18 }, rpcUrls: { default: { http: [url] } } })
const owner = privateKeyToAccount(devnet.accounts[4].privateKey)
const others = devnet.accounts.slice(5, 9).map((each) => each.address)
const client = createPublicClient({ chain, transport: http(url), pollingInterval: 50 })
const wallet = createWalletClient({ account: owner, chain, transport: http(url) })
const assert = (condition, words) => {
  if (!condition) throw new Error(words)
}
const shown = (value) => JSON.stringify(value, (_, entry) => (typeof entry === 'bigint' ? String(entry) : entry))
const ok = (words) => console.log(`ok ponder: ${words}`)
const pause = (ms) => new Promise((done) => setTimeout(done, ms))

function compile() {
  const content = fs.readFileSync(path.join(here, 'ponder/Token.sol'), 'utf8')
  const input = { language: 'Solidity', sources: { 'Token.sol': { content } }, settings: { evmVersion: 'cancun', outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } } }
  const { abi, evm } = JSON.parse(solc.compile(JSON.stringify(input))).contracts['Token.sol'].Token
  return { abi, bytecode: `0x${evm.bytecode.object}` }
}

/** What the indexer should show, kept from receipts and nothing else. */
class Ledger {
  balances = new Map()
  transfers = []
  calls = []

  move(from, to, value) {
    if (from) this.balances.set(from, (this.balances.get(from) ?? 0n) - value)
    this.balances.set(to, (this.balances.get(to) ?? 0n) + value)
  }

  expected() {
    return {
      accounts: [...this.balances].map(([address, balance]) => ({ address: address.toLowerCase(), balance: String(balance), read: String(balance) })).sort((a, b) => (a.address < b.address ? -1 : 1)),
      transfers: [...this.transfers].sort(),
      calls: [...this.calls].sort(),
    }
  }
}

async function mined(hash) {
  const receipt = await client.waitForTransactionReceipt({ hash, timeout: 20_000 })
  assert(receipt.status === 'success', `${hash} failed`)
  return receipt
}

/** Transfers, one and several per transaction, in blocks of their own and together. */
async function traffic(ledger, { abi, address }) {
  const sent = []
  let nonce = await client.getTransactionCount({ address: owner.address })
  for (let at = 0; at < 6; at++) {
    const spread = at % 3 === 2
    const value = BigInt(10 + at)
    const to = others[at % others.length]
    const request = spread ? { functionName: 'spread', args: [others, value] } : { functionName: 'transfer', args: [to, value] }
    sent.push({ spread, to, value, hash: await wallet.writeContract({ abi, address, gas: 500_000n, nonce: nonce++, ...request }) })
    if (at === 3) await mined(sent[at].hash)
  }
  for (const { spread, to, value, hash } of sent) {
    const { gasUsed, blockNumber } = await mined(hash)
    const count = spread ? others.length : 1
    for (const each of spread ? others : [to]) ledger.move(owner.address, each, value)
    ledger.transfers.push(...Array(count).fill(`${hash} ${blockNumber} ${gasUsed}`))
    ledger.calls.push(`${hash} ${owner.address.toLowerCase()}`, ...(spread ? Array(count).fill(`${hash} ${address.toLowerCase()}`) : []))
  }
}

async function start(token, block, folder) {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((done) => server.on('listening', done))
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  // A copy: Ponder writes into its project and into the working directory.
  const root = path.join(folder, 'project')
  fs.cpSync(path.join(here, 'ponder'), root, { recursive: true })
  fs.symlinkSync(path.join(here, 'node_modules'), path.join(folder, 'node_modules'))
  const indexer = spawn(process.execPath, [path.join(here, 'node_modules/ponder/dist/esm/bin/ponder.js'), 'start', '--root', root, '--schema', 'devnet', '--hostname', '127.0.0.1', '--port', String(port), '--log-format', 'json', '--log-level', 'debug'], {
    cwd: folder,
    env: { ...process.env, PONDER_TELEMETRY_DISABLED: '1', NODE_RPC: url, NODE_WS: ws ?? '', NODE_CHAIN: String(devnet.chainId), TOKEN: token.address, TOKEN_ABI: JSON.stringify(token.abi), START: String(block), DATABASE: path.join(folder, 'database') },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log = []
  for (const stream of [indexer.stdout, indexer.stderr]) stream.on('data', (data) => log.push(String(data)))
  const text = () => log.join('')
  const warnings = () => text().split('\n').filter((line) => /"level":(40|50|60)/.test(line) || (line && !line.startsWith('{')))
  return { indexer, warnings, text, api: `http://127.0.0.1:${port}` }
}

async function indexed({ api, indexer, warnings }) {
  assert(indexer.exitCode === null, `ponder ended with ${indexer.exitCode}:\n${warnings().join('\n')}`)
  const query = '{ accounts(limit: 1000) { items { address balance read } } transfers(limit: 1000) { items { hash block gasUsed } } calls(limit: 1000) { items { hash from } } }'
  try {
    const answer = await fetch(`${api}/graphql`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ query }), signal: AbortSignal.timeout(2_000) })
    const { data } = await answer.json()
    return {
      accounts: data.accounts.items.sort((a, b) => (a.address < b.address ? -1 : 1)),
      transfers: data.transfers.items.map(({ hash, block, gasUsed }) => `${hash} ${block} ${gasUsed}`).sort(),
      calls: data.calls.items.map(({ hash, from }) => `${hash} ${from}`).sort(),
    }
  } catch {
    return undefined // Not listening yet.
  }
}

async function until(ponder, ledger, seconds) {
  const wanted = shown(ledger.expected())
  const end = Date.now() + seconds * 1_000
  let got
  while (Date.now() < end) {
    got = await indexed(ponder)
    if (shown(got) === wanted) return
    await pause(100)
  }
  throw new Error(`ponder shows\n${shown(got)}, expected\n${wanted}\n${ponder.warnings().slice(-20).join('\n')}`)
}

async function main(folder) {
  const { abi, bytecode } = compile()
  const supply = 10n ** 24n
  const { contractAddress: address, blockNumber, gasUsed, transactionHash } = await mined(await wallet.deployContract({ abi, bytecode, args: [supply] }))
  const token = { abi, address }
  const ledger = new Ledger()
  ledger.move(undefined, owner.address, supply)
  ledger.transfers.push(`${transactionHash} ${blockNumber} ${gasUsed}`)
  await traffic(ledger, token)
  const ponder = await start(token, blockNumber, folder)
  try {
    await until(ponder, ledger, 30)
    ok('balances, receipts and call traces of what was there before')
    for (let round = 0; round < 2; round++) {
      await traffic(ledger, token)
      await until(ponder, ledger, 15)
    }
    ok('and of what happened while it followed')
    assert(ponder.warnings().length === 0, `warnings:\n${ponder.warnings().join('\n')}`)
    ok('no warnings, no errors')
  } finally {
    if (process.env.DEBUG) fs.writeFileSync(process.env.DEBUG, ponder.text())
    const ended = new Promise((done) => ponder.indexer.on('exit', done))
    if (ponder.indexer.exitCode === null) {
      ponder.indexer.kill('SIGTERM')
      const timer = setTimeout(() => ponder.indexer.kill('SIGKILL'), 5_000)
      await ended
      clearTimeout(timer)
    }
  }
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ponder-'))
main(folder).catch((error) => {
  console.error(error.message)
  process.exitCode = 1
}).finally(() => {
  fs.rmSync(folder, { recursive: true, force: true })
  process.exit()
})
