// A project of Hardhat 2, unchanged but for where its compiler comes from: compiled, deployed and tested against a network.
//
//   node hardhat.mjs DEVNET.json
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))
const devnet = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const work = mkdtempSync(path.join(os.tmpdir(), 'bttc-hardhat-'))
// A home of its own: no global configuration, and none left behind. CI and the rest: neither questions nor reports.
const env = {
  ...process.env, HOME: work, CI: 'true', HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true', NODE_NO_WARNINGS: '1',
  BTTC_URL: devnet.validators[0].rpc, BTTC_KEYS: devnet.accounts.slice(0, 3).map((account) => account.privateKey).join(),
}

const hardhat = (...args) => {
  try {
    return execFileSync('npx', ['--no-install', 'hardhat', ...args], { cwd: path.join(work, 'project'), env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 })
  } catch (error) {
    throw new Error(`hardhat ${args.join(' ')}: ${error.message}\n${error.stdout}${error.stderr}`)
  }
}

try {
  cpSync(path.join(here, 'hardhat'), path.join(work, 'project'), { recursive: true })
  symlinkSync(path.join(here, 'node_modules'), path.join(work, 'node_modules'))
  assert.match(hardhat('compile'), /Compiled \d+ Solidity files? successfully/)
  console.log('ok hardhat compile')
  const deployed = JSON.parse(hardhat('run', 'scripts/deploy.js', '--network', 'bttc').trim().split('\n').at(-1))
  assert.deepEqual([deployed.network, deployed.deployer, deployed.value], ['bttc', devnet.accounts[0].address, 7])
  console.log('ok hardhat run scripts/deploy.js')
  const report = hardhat('test', '--network', 'bttc')
  const [, passing] = report.match(/(\d+) passing/) ?? assert.fail(report)
  assert.doesNotMatch(report, /failing|pending/)
  console.log(`ok hardhat test: ${passing} passing`)
} finally {
  rmSync(work, { recursive: true, force: true })
}
