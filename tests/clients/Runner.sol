// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// Does what it is told, step by step; a step may call another runner with steps of its own.
contract Runner {
    struct Step {
        uint8 op;
        address to;
        uint256 a;
        uint256 b;
        bytes data;
    }

    error Custom(uint256 code, address who);

    /// Set in the flags of an `op`: a failure of this call or creation is a failure of the caller, with its data.
    uint8 private constant MUST = 0x80;
    address private immutable maker = msg.sender;
    uint256 private immutable salt = uint256(keccak256(abi.encode(msg.sender, block.chainid)));
    uint256[] private list;

    constructor() payable {}

    receive() external payable {}

    function made() external view returns (address, uint256) {
        return (maker, salt);
    }

    function run(Step[] calldata steps) external payable returns (bytes32 last) {
        for (uint256 i; i < steps.length; ++i) {
            Step calldata step = steps[i];
            uint8 op = step.op & 0x7f;
            if (op < 6) last = enter(op, step);
            else if (op < 10) change(op, step);
            else if (op < 20) fail(op, step.a, step.data);
            else last = read(op, step);
        }
    }

    function enter(uint8 op, Step calldata step) private returns (bytes32) {
        (address to, uint256 a, uint256 value, bytes memory data) = (step.to, step.a, step.b, step.data);
        uint256 done;
        bytes memory output;
        assembly {
            let at := add(data, 32)
            let size := mload(data)
            let limit := a
            if iszero(a) { limit := gas() }
            switch op
            case 0 { done := call(limit, to, value, at, size, 0, 0) }
            case 1 { done := delegatecall(limit, to, at, size, 0, 0) }
            case 2 { done := staticcall(limit, to, at, size, 0, 0) }
            case 3 { done := callcode(limit, to, value, at, size, 0, 0) }
            case 4 { done := create(value, at, size) }
            default { done := create2(value, at, size, a) }
            output := mload(0x40)
            mstore(output, returndatasize())
            returndatacopy(add(output, 32), 0, returndatasize())
            mstore(0x40, add(add(output, 64), returndatasize()))
            if and(iszero(done), gt(and(calldataload(step), MUST), 0)) { revert(add(output, 32), mload(output)) }
        }
        return keccak256(abi.encode(done, output));
    }

    function change(uint8 op, Step calldata step) private {
        (address to, uint256 a, uint256 b, bytes memory data) = (step.to, step.a, step.b, step.data);
        assembly {
            switch op
            case 6 {
                let at := add(data, 32)
                let size := mload(data)
                switch a
                case 0 { log0(at, size) }
                case 1 { log1(at, size, b) }
                case 2 { log2(at, size, b, to) }
                case 3 { log3(at, size, b, to, number()) }
                default { log4(at, size, b, to, caller(), 0) }
            }
            case 7 { sstore(a, b) }
            case 8 {
                tstore(a, add(tload(a), b))
                sstore(add(a, 1), tload(a))
            }
            default { selfdestruct(to) }
        }
    }

    function fail(uint8 op, uint256 a, bytes calldata data) private {
        if (op == 10) revert(string(data));
        if (op == 11) revert Custom(a, msg.sender);
        if (op == 12) assert(a > type(uint256).max - 1);
        if (op == 13) list.push(1 / (a & 0));
        if (op == 14) list[a + 1] = a;
        if (op == 15) list.pop();
        if (op == 16) {
            bytes memory raw = data;
            assembly { revert(add(raw, 32), mload(raw)) }
        }
        if (op == 17) assembly { invalid() }
        if (op == 18) while (gasleft() > a) {}
        if (op == 19) {
            uint256[] memory much = new uint256[](a);
            much[0] = 1;
        }
    }

    function read(uint8 op, Step calldata step) private returns (bytes32 last) {
        (address to, uint256 a, bytes memory data) = (step.to, step.a, step.data);
        if (op == 20) {
            bytes memory env = abi.encode(
                block.coinbase, block.number, block.timestamp, block.basefee, block.gaslimit, block.chainid, tx.origin,
                tx.gasprice, address(this).balance, gasleft(), block.blobbasefee, blobhash(a)
            );
            emit Seen(env);
        } else if (op == 21) {
            emit Seen(abi.encode(to.balance, to.codehash, to.code.length, keccak256(to.code)));
        } else if (op == 22) {
            assembly { last := sload(a) }
        } else {
            assembly {
                let at := add(data, 32)
                mcopy(add(at, and(a, 0xff)), at, mload(data))
                last := keccak256(at, add(mload(data), and(a, 0xff)))
                sstore(a, last)
            }
        }
    }

    event Seen(bytes what);
}
