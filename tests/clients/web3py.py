"""web3.py's blocking and asynchronous clients; `web3py.mjs` compiles the contract and calls this.

python web3py.py DEVNET.json PROBE.json
"""
import asyncio
import json
import sys
import time

from eth_account import Account
from hexbytes import HexBytes
from web3 import AsyncWeb3, Web3, WebSocketProvider
from web3.exceptions import BlockNotFound, ContractCustomError, ContractLogicError, TransactionNotFound, Web3RPCError
from web3.middleware import SignAndSendRawMiddlewareBuilder
from web3.utils.subscriptions import LogsSubscription, NewHeadsSubscription

devnet = json.load(open(sys.argv[1]))
probe = json.load(open(sys.argv[2]))
node = devnet["validators"][0]
account = Account.from_key(devnet["accounts"][1]["privateKey"])
target = devnet["accounts"][9]["address"]
w3 = Web3(Web3.HTTPProvider(node["rpc"]))
w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
w3.eth.default_account = account.address
GWEI = 10**9


def ok(words):
    print(f"ok web3.py: {words}", flush=True)


def same(got, wanted, words):
    assert got == wanted, f"{words}: {got!r}, expected {wanted!r}"


def fails(kind, words, call):
    try:
        call()
    except kind as error:
        assert words in str(error), f"failed with {error}, expected {words}"
        return error
    raise AssertionError(f"succeeded, expected {kind.__name__} with {words}")


def mined(sent):
    return w3.eth.wait_for_transaction_receipt(sent, timeout=20, poll_latency=0.05)


def polled(log_filter, until):
    found, end = [], time.time() + 10
    while not until(found):
        assert time.time() < end, f"a filter told only {found}"
        found += log_filter.get_new_entries()
        time.sleep(0.05)
    return found


def chain():
    assert w3.is_connected()
    same(w3.eth.chain_id, devnet["chainId"], "chain id")
    same(w3.net.version, str(devnet["chainId"]), "network id")
    same(w3.eth.syncing, False, "syncing")
    # Without the middleware for chains whose extra data is too long.
    for tag in ("latest", "safe", "finalized", "earliest"):
        assert len(w3.eth.get_block(tag).extraData) <= 32, tag
    fails(BlockNotFound, "", lambda: w3.eth.get_block(10**9))
    fails(TransactionNotFound, "", lambda: w3.eth.get_transaction("0x" + "11" * 32))
    history = w3.eth.fee_history(3, "latest", [25, 75])
    same([len(history.baseFeePerGas), len(history.gasUsedRatio), len(history.reward), len(history.reward[0])], [4, 3, 3, 2], "fee history")
    block = w3.eth.get_block(history.oldestBlock)
    same(history.baseFeePerGas[0], block.baseFeePerGas, "base fee of a block")
    assert w3.eth.gas_price >= history.baseFeePerGas[-1] and w3.eth.max_priority_fee >= 0
    ok("chain id, blocks by tag, fee history")


def transfers():
    price = 2 * w3.eth.gas_price + GWEI
    access = [{"address": target, "storageKeys": ["0x" + "00" * 31 + "01"]}]
    cases = [
        (2, {}),
        (2, {"maxFeePerGas": price, "maxPriorityFeePerGas": GWEI}),
        (0, {"gasPrice": price}),
        (1, {"gasPrice": price, "accessList": access, "type": 1}),
    ]
    for kind, extra in cases:
        before = w3.eth.get_balance(target), w3.eth.get_balance(account.address)
        receipt = mined(w3.eth.send_transaction({"from": account.address, "to": target, "value": 7, **extra}))
        same([receipt.status, receipt.type, receipt.to], [1, kind, target], "receipt")
        same(w3.eth.get_balance(target), before[0] + 7, "recipient")
        same(w3.eth.get_balance(account.address), before[1] - 7 - receipt.gasUsed * receipt.effectiveGasPrice, "sender")
        transaction = w3.eth.get_transaction(receipt.transactionHash)
        same([transaction.type, transaction.value, transaction.blockHash], [kind, 7, receipt.blockHash], "transaction")
        same(Web3.keccak(w3.eth.get_raw_transaction(receipt.transactionHash)), receipt.transactionHash, "hash of the raw transaction")
        same(transaction.get("accessList") or [], access if kind == 1 else [], "access list")
    nonce = w3.eth.get_transaction_count(account.address, "pending")
    stale = account.sign_transaction({"to": target, "value": 1, "nonce": nonce - 1, "gas": 21_000, "gasPrice": price, "chainId": w3.eth.chain_id})
    fails(Web3RPCError, "nonce too low", lambda: w3.eth.send_raw_transaction(stale.raw_transaction))
    foreign = account.sign_transaction({"to": target, "value": 1, "nonce": nonce, "gas": 21_000, "gasPrice": price, "chainId": 1})
    fails(Web3RPCError, "chain", lambda: w3.eth.send_raw_transaction(foreign.raw_transaction))
    poor = Account.create()
    empty = poor.sign_transaction({"to": target, "value": 1, "nonce": 0, "gas": 21_000, "gasPrice": price, "chainId": w3.eth.chain_id})
    fails(Web3RPCError, "insufficient funds", lambda: w3.eth.send_raw_transaction(empty.raw_transaction))
    ok("transfers of types 2, 0 and 1, and refused ones")


def deploy():
    receipt = mined(w3.eth.contract(abi=probe["abi"], bytecode=probe["bytecode"]).constructor().transact())
    same(receipt.status, 1, "deployment")
    contract = w3.eth.contract(receipt.contractAddress, abi=probe["abi"])
    assert len(w3.eth.get_code(contract.address)) > 100
    same(mined(contract.functions.store(1, "one").transact()).status, 1, "a call")
    same([contract.functions.read(1).call(), contract.functions.count().call()], ["one", 1], "what was stored")
    same(contract.functions.count().call(block_identifier=receipt.blockNumber), 0, "before it was stored")
    nobody = Account.create().address
    same(w3.eth.call({"from": nobody, "to": contract.address, "value": 5}, "latest", {contract.address: {"code": "0x3460005260206000f3"}, nobody: {"balance": hex(10**20)}}), HexBytes(5).rjust(32, b"\0"), "a call with overrides")
    listed = w3.eth.create_access_list({"to": contract.address, "data": contract.encode_abi("count")})
    same([entry.address for entry in listed.accessList], [contract.address], "access list")
    ok("deployment, calls, calls into the past and with overrides")
    return contract


def reverts(contract):
    error = fails(ContractCustomError, "", contract.functions.failWithError(11).call)
    wanted = "0x" + Web3.keccak(text="TooLarge(uint256,uint256)")[:4].hex() + f"{11:064x}{10:064x}"
    same(error.data, wanted, "data of a custom error")
    fails(ContractLogicError, "nothing to see here", contract.functions.failWithText().call)
    fails(ContractLogicError, "nothing to see here", contract.functions.failWithText().estimate_gas)
    fails(ContractCustomError, "", lambda: contract.functions.failWithError(12).transact())
    receipt = mined(contract.functions.failWithText().transact({"gas": 100_000}))
    same(receipt.status, 0, "a transaction that reverts")
    ok("custom errors and reasons, from calls, estimates and receipts")


def events(contract):
    logs = contract.events.Stored.create_filter(from_block=w3.eth.block_number, argument_filters={"key": 22})
    raw = w3.eth.filter({"address": contract.address})
    blocks = w3.eth.filter("latest")
    pending = w3.eth.filter("pending")
    receipts = [mined(contract.functions.store(key, f"text {key}").transact()) for key in (21, 22, 23)]
    found = polled(logs, lambda got: len(got) >= 1)
    same([(event.args.key, event.args.text, event.args.by) for event in found], [(22, "text 22", account.address)], "new entries")
    same([entry.transactionHash for entry in polled(raw, lambda got: len(got) >= 3)], [r.transactionHash for r in receipts], "unparsed entries")
    heads = polled(blocks, lambda got: receipts[-1].blockHash in got)
    assert all(receipt.blockHash in heads for receipt in receipts), "blocks are missing"
    numbers = [w3.eth.get_block(head).number for head in heads]
    same(numbers, list(range(numbers[0], numbers[-1] + 1)), "each block once and in order")
    seen = polled(pending, lambda got: receipts[-1].transactionHash in got)
    assert all(receipt.transactionHash in seen for receipt in receipts), "pending transactions are missing"
    same(logs.get_new_entries(), [], "entries are told once")
    same(len(logs.get_all_entries()), 1, "all entries")
    for each in (logs, raw, blocks, pending):
        same(w3.eth.uninstall_filter(each.filter_id), True, "a filter that is removed")
    fails(Web3RPCError, "filter not found", raw.get_new_entries)
    past = contract.events.Stored.get_logs(from_block=receipts[0].blockNumber)
    same([event.args.key for event in past], [21, 22, 23], "logs by event")
    same(len(contract.events.Stored.get_logs(from_block=receipts[0].blockNumber, argument_filters={"key": [21, 23]})), 2, "one of several topics")
    same(len(w3.eth.get_logs({"address": contract.address, "blockHash": receipts[1].blockHash})), 1, "logs of a block")
    same(contract.events.Stored().process_receipt(receipts[1])[0].args.text, "text 22", "logs of a receipt")
    same([r.transactionHash for r in w3.eth.get_block_receipts(receipts[1].blockNumber)], w3.eth.get_block(receipts[1].blockNumber).transactions, "receipts of a block")
    ok("logs, event filters, block and pending filters, receipts")


def proofs(contract):
    proof = w3.eth.get_proof(contract.address, [1], "latest")
    same(proof.codeHash, Web3.keccak(w3.eth.get_code(contract.address)), "code hash")
    same([proof.address, len(proof.storageProof), int(proof.storageProof[0].value.hex() or "0", 16)], [contract.address, 1, contract.functions.count().call()], "proof of a slot")
    number = w3.eth.block_number
    proof = w3.eth.get_proof(account.address, [], number)
    same([proof.balance, proof.nonce], [w3.eth.get_balance(account.address, number), w3.eth.get_transaction_count(account.address, number)], "proof of an account")
    same(Web3.keccak(proof.accountProof[0]), w3.eth.get_block(number).stateRoot, "root of a proof")
    ok("proofs")


def delegation(contract):
    nonce = w3.eth.get_transaction_count(account.address)
    signed = account.sign_authorization({"chainId": w3.eth.chain_id, "address": contract.address, "nonce": nonce + 1})
    receipt = mined(w3.eth.send_transaction({"to": target, "authorizationList": [signed], "gas": 200_000}))
    same([receipt.status, receipt.type], [1, 4], "a transaction of type 4")
    same(w3.eth.get_code(account.address), HexBytes("0xef0100" + contract.address[2:]), "delegation")
    back = account.sign_authorization({"chainId": w3.eth.chain_id, "address": "0x" + "00" * 20, "nonce": nonce + 3})
    mined(w3.eth.send_transaction({"to": target, "authorizationList": [back], "gas": 200_000}))
    same(w3.eth.get_code(account.address), HexBytes("0x"), "no delegation any more")
    ok("delegation (type 4)")


async def subscriptions(address):
    async with AsyncWeb3(WebSocketProvider(node["ws"])) as aw3:
        aw3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
        contract = aw3.eth.contract(address, abi=probe["abi"])
        event = contract.events.Stored()
        heads, logs = [], []

        async def head(context):
            heads.append(context.result)

        async def log(context):
            logs.append(event.process_log(context.result))

        await aw3.subscription_manager.subscribe([
            NewHeadsSubscription(label="heads", handler=head),
            LogsSubscription(label="logs", address=address, topics=[event.topic], handler=log),
        ])
        listener = asyncio.create_task(aw3.subscription_manager.handle_subscriptions(run_forever=True))
        receipts = []
        for key in (31, 32):
            sent = await contract.functions.store(key, "live").transact({"from": account.address})
            receipts.append(await aw3.eth.wait_for_transaction_receipt(sent, timeout=20, poll_latency=0.05))
        end = time.time() + 10
        while time.time() < end and not (len(logs) >= 2 and heads and heads[-1]["number"] >= receipts[-1].blockNumber):
            assert not listener.done(), listener.exception()
            await asyncio.sleep(0.05)
        same([(entry.args.key, entry.transactionHash) for entry in logs], [(31, receipts[0].transactionHash), (32, receipts[1].transactionHash)], "logs that were told")
        numbers = [entry["number"] for entry in heads]
        same(numbers, list(range(numbers[0], numbers[-1] + 1)), "each head once and in order")
        told = next(entry for entry in heads if entry["number"] == receipts[0].blockNumber)
        full = await aw3.eth.get_block(told["hash"])
        assert all(full[key] == told[key] for key in ("parentHash", "stateRoot", "timestamp", "miner", "baseFeePerGas")), "a head and its block differ"
        await aw3.subscription_manager.unsubscribe_all()
        listener.cancel()
    ok("subscriptions to heads and logs over WebSocket")


chain()
transfers()
contract = deploy()
reverts(contract)
events(contract)
proofs(contract)
delegation(contract)
asyncio.run(subscriptions(contract.address))
