// What developers do with a local node, through viem's test client in both of its modes, on `bttc dev`.
//
// node dev.mjs RPC
import assert from "node:assert/strict";
import {
  createPublicClient, createTestClient, createWalletClient, encodeFunctionData, hexToBigInt, http, parseAbi, parseEther, publicActions,
  walletActions, zeroAddress,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";

const transport = http(process.argv[2]);
const chain = {
  id: 1337, name: "bttc dev", nativeCurrency: { name: "BTT", symbol: "BTT", decimals: 18 },
  rpcUrls: { default: { http: [process.argv[2]] } },
};
const client = (mode) =>
  createTestClient({ mode, chain, transport, cacheTime: 0 }).extend(publicActions).extend(walletActions);
const node = client("hardhat");
const say = (text) => console.log(`ok: ${text}`);
const rejected = (work, words) => assert.rejects(work, (error) => {
  assert.match(`${error.message} ${error.details ?? ""}`, words);
  return true;
});

const accounts = await node.getAddresses();
assert.equal(accounts.length, 10);
const [first, second, third] = accounts;
const someone = "0x1111111111111111111111111111111111111111";

// A transaction is mined as it comes, signed by the node, or by the wallet.
assert.equal(await node.getBlockNumber(), 0n);
const sent = await node.sendTransaction({ account: first, to: someone, value: 5n });
const receipt = await node.getTransactionReceipt({ hash: sent });
assert.deepEqual([receipt.status, receipt.from, receipt.blockNumber], ["success", first.toLowerCase(), 1n]);
const wallet = createWalletClient({
  account: privateKeyToAccount("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"), chain, transport,
});
assert.equal(wallet.account.address, second);
const raw = await wallet.sendTransaction({ to: someone, value: 6n });
assert.equal((await node.getTransactionReceipt({ hash: raw })).blockNumber, 2n);
assert.equal(await node.getBalance({ address: someone }), 11n);
await rejected(node.sendTransaction({ account: someone, to: first, value: 1n, gas: 21_000n }), /unknown account/);
const signature = await node.request({ method: "personal_sign", params: ["0x6869", first] });
assert.equal(await createPublicClient({ chain, transport }).verifyMessage({ address: first, message: "hi", signature }), true);
// A permit, as wallets sign one.
const permit = {
  domain: { name: "BTT", version: "1", chainId: 1337, verifyingContract: "0x0000000000000000000000000000000000001010" },
  types: { Permit: [{ name: "owner", type: "address" }, { name: "value", type: "uint256" }] },
  primaryType: "Permit",
  message: { owner: first, value: 7n },
};
const signedPermit = await node.signTypedData({ account: first, ...permit });
assert.equal(await createPublicClient({ chain, transport }).verifyTypedData({ address: first, signature: signedPermit, ...permit }), true);
await rejected(node.signTypedData({ account: someone, ...permit }), /unknown account/);
say("transactions are mined as they come, also for accounts that the node signs for");

for (const mode of ["hardhat", "anvil"]) {
  const tool = client(mode);
  // The state by hand: what was is still read at earlier heights.
  const before = await tool.getBlockNumber();
  await tool.setBalance({ address: someone, value: parseEther("1000") });
  assert.equal(await tool.getBalance({ address: someone }), parseEther("1000"));
  await tool.setNonce({ address: someone, nonce: 0x10 });
  assert.equal(await tool.getTransactionCount({ address: someone }), 0x10);
  // Returns its first slot.
  const code = "0x5f545f5260205ff3";
  const contract = mode === "hardhat" ? "0x2222222222222222222222222222222222222222" : "0x3333333333333333333333333333333333333333";
  await tool.setCode({ address: contract, bytecode: code });
  await tool.setStorageAt({ address: contract, index: 0, value: `0x${"ab".repeat(32)}` });
  assert.equal(await tool.getCode({ address: contract }), code);
  assert.equal((await tool.call({ to: contract })).data, `0x${"ab".repeat(32)}`);
  assert.equal(await tool.getBlockNumber(), before, "no block was needed");
  assert.equal(await tool.getCode({ address: contract, blockNumber: before - 1n }), undefined);
  await tool.mine({ blocks: 1 });
  assert.equal((await tool.call({ to: contract })).data, `0x${"ab".repeat(32)}`, "the next block keeps it");
  say(`${mode}: balance, nonce, code and slots are set by hand`);

  // Impersonation, also of a contract.
  for (const address of [someone, contract]) {
    await tool.setBalance({ address, value: parseEther("1000") });
    await tool.impersonateAccount({ address });
    const hash = await tool.sendTransaction({ account: address, to: third, value: 7n });
    const transaction = await tool.getTransaction({ hash });
    assert.equal(transaction.from, address);
    assert.equal((await tool.getTransactionReceipt({ hash })).status, "success");
    await tool.stopImpersonatingAccount({ address });
    await rejected(tool.sendTransaction({ account: address, to: third, value: 7n, gas: 21_000n }), /unknown account/);
  }
  say(`${mode}: accounts and contracts are impersonated`);

  // Time.
  const now = (await tool.getBlock()).timestamp;
  await tool.setNextBlockTimestamp({ timestamp: now + 1_000n });
  await tool.mine({ blocks: 1 });
  assert.equal((await tool.getBlock()).timestamp, now + 1_000n);
  await tool.increaseTime({ seconds: 86_400 });
  await tool.mine({ blocks: 1 });
  const later = (await tool.getBlock()).timestamp - now - 1_000n;
  assert.ok(later >= 86_399n && later < 86_500n, `a day later, not ${later} s`);
  await rejected(tool.setNextBlockTimestamp({ timestamp: now }), /is before the head/);
  const height = await tool.getBlockNumber();
  await tool.mine({ blocks: 5, interval: 60 });
  assert.equal(await tool.getBlockNumber(), height + 5n);
  const spread = (await tool.getBlock()).timestamp - (await tool.getBlock({ blockNumber: height + 1n })).timestamp;
  assert.equal(spread, 240n);
  say(`${mode}: blocks and their times`);

  // What is locked until later opens for estimates and calls as soon as the next block is later: reverts while the time is before the
  // call's first word.
  const lock = mode === "hardhat" ? "0x4444444444444444444444444444444444444444" : "0x5555555555555555555555555555555555555555";
  await tool.setCode({ address: lock, bytecode: "0x5f354210600857005b5f5ffd" });
  const opens = (await tool.getBlock()).timestamp + 3_600n;
  const key = `0x${opens.toString(16).padStart(64, "0")}`;
  await rejected(tool.estimateGas({ account: first, to: lock, data: key }), /reverted/);
  await tool.increaseTime({ seconds: 7_200 });
  assert.ok(await tool.estimateGas({ account: first, to: lock, data: key }) > 21_000n);
  await tool.call({ to: lock, data: key, blockTag: "pending" });
  const opened = await tool.sendTransaction({ account: first, to: lock, data: key });
  assert.equal((await tool.getTransactionReceipt({ hash: opened })).status, "success");
  // A transaction that cannot be estimated says why, with the contract's own error.
  await tool.setCode({ address: lock, bytecode: "0x63deadbeef5f526004601cfd" });
  const reason = await tool.request({ method: "eth_sendTransaction", params: [{ from: first, to: lock }] }, { retryCount: 0 }).catch((error) => error);
  const carried = reason.walk((error) => error.data !== undefined);
  assert.deepEqual([carried.code, carried.data], [3, "0xdeadbeef"]);
  say(`${mode}: estimates know the next block's time, failures their reason`);

  // Snapshots.
  const id = await tool.snapshot();
  const [hash, balance] = [(await tool.getBlock()).hash, await tool.getBalance({ address: third })];
  await tool.sendTransaction({ account: first, to: third, value: parseEther("3") });
  await tool.setBalance({ address: third, value: 1n });
  await tool.mine({ blocks: 3 });
  const gone = await tool.getBlock();
  const filter = await tool.createBlockFilter();
  assert.equal(await tool.request({ method: "evm_revert", params: [id] }), true);
  assert.equal((await tool.getBlock()).hash, hash);
  assert.equal(await tool.getBalance({ address: third }), balance);
  await assert.rejects(tool.getBlock({ blockHash: gone.hash }));
  assert.equal(await tool.request({ method: "evm_revert", params: [id] }), false, "a snapshot is used once");
  await tool.sendTransaction({ account: first, to: third, value: 2n });
  assert.equal(await tool.getBalance({ address: third }), balance + 2n);
  const again = await tool.getBlock();
  assert.deepEqual(await tool.getFilterChanges({ filter }), [again.hash], "a filter goes back with the chain");
  assert.equal(again.transactions.length, 1, "not the block that was there before");
  say(`${mode}: snapshots`);
}

// Without automatic mining transactions wait, in order.
await node.setAutomine(false);
const waiting = [];
for (let nonce = 0; nonce < 3; nonce += 1) waiting.push(await node.sendTransaction({ account: first, to: someone, value: 1n }));
assert.equal(await node.getTransactionReceipt({ hash: waiting[0] }).catch(() => null), null);
await node.mine({ blocks: 1 });
const mined = await Promise.all(waiting.map((hash) => node.getTransactionReceipt({ hash })));
assert.deepEqual(mined.map((entry) => entry.transactionIndex), [0, 1, 2]);
const height = await node.getBlockNumber();
await node.setIntervalMining({ interval: 0.05 });
const deadline = Date.now() + 20_000;
while ((await node.getBlockNumber()) < height + 3n) assert.ok(Date.now() < deadline, "blocks come by time");
await node.setIntervalMining({ interval: 0 });
await node.setAutomine(true);
say("mining by hand and by time");

// A transaction that waited for another is told when that one comes.
await node.setAutomine(false);
const pool = await node.createPendingTransactionFilter();
const nonce = await node.getTransactionCount({ address: third });
const fees = { to: someone, value: 1n, gas: 21_000n, maxFeePerGas: 1_000_000_000_000n, maxPriorityFeePerGas: 0n };
const second_ = await node.sendTransaction({ account: third, nonce: nonce + 1, ...fees });
assert.deepEqual(await node.getFilterChanges({ filter: pool }), []);
const first_ = await node.sendTransaction({ account: third, nonce, ...fees });
assert.deepEqual(await node.getFilterChanges({ filter: pool }), [first_, second_]);
const prepared = await node.request({ method: "eth_signTransaction", params: [{ from: third, to: someone, value: "0x1", nonce: `0x${(nonce + 2).toString(16)}` }] });
const own = await node.request({ method: "eth_sendRawTransaction", params: [prepared] });
assert.deepEqual(await node.getFilterChanges({ filter: pool }), [own]);
await node.setAutomine(true);
assert.equal((await node.getTransactionReceipt({ hash: own })).status, "success");
assert.equal((await node.request({ method: "hardhat_metadata" })).instanceId.length, 66);
say("what waits is announced when it can be mined");

// Overrides of precompiles: one that is moved, and code in the place of one.
const sha256 = "0x0000000000000000000000000000000000000002";
const hashed = await node.request({ method: "eth_call", params: [{ to: sha256, data: "0x616263" }, "latest"] });
const at = "0x00000000000000000000000000000000000000aa";
const moved = { [sha256]: { movePrecompileToAddress: at } };
assert.equal(await node.request({ method: "eth_call", params: [{ to: at, data: "0x616263" }, "latest", moved] }), hashed);
assert.equal(await node.request({ method: "eth_call", params: [{ to: sha256, data: "0x616263" }, "latest", moved] }), "0x");
const faked = { "0x0000000000000000000000000000000000000001": { code: "0x600760005260206000f3" } };
const seven = `0x${"7".padStart(64, "0")}`;
assert.equal(await node.request({ method: "eth_call", params: [{ to: Object.keys(faked)[0] }, "latest", faked] }), seven);
const traced = await node.request({ method: "debug_traceCall", params: [{ to: Object.keys(faked)[0] }, "latest", { tracer: "callTracer", stateOverrides: faked }] });
assert.equal(traced.output, seven);
await rejected(node.request({ method: "eth_call", params: [{ to: at }, "latest", { [someone]: { movePrecompileToAddress: at } }] }), /is not a precompile/);
say("precompiles under overrides");

// The native modules work on, across time.
const btt = "0x0000000000000000000000000000000000001010";
const abi = parseAbi(["function transfer(address,uint256) returns (bool)", "function balanceOf(address) view returns (uint256)"]);
const data = encodeFunctionData({ abi, functionName: "transfer", args: [someone, 9n] });
const had = await node.getBalance({ address: someone });
const transfer = await node.sendTransaction({ account: first, to: btt, data });
assert.equal((await node.getTransactionReceipt({ hash: transfer })).status, "success");
assert.equal(await node.readContract({ address: btt, abi, functionName: "balanceOf", args: [someone] }), had + 9n);
await node.mine({ blocks: 1_000, interval: 3_600 });
assert.equal(hexToBigInt((await node.request({ method: "bttc_validators", params: ["latest"] })).validators[0].power) > 0n, true);
assert.notEqual((await node.getBlock()).miner, zeroAddress);
say("the native modules, through a thousand blocks of an hour");
