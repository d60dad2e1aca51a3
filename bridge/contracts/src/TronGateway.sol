// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Commands} from "./Commands.sol";
import {Deposits} from "./Deposits.sol";
import {GatewayStorage} from "./GatewayStorage.sol";

/// @notice The gateway on TRON: signatures by `batchValidateSign`, which checks up to 16 on several cores. One by one they
/// would not fit the 80 ms that TRON gives a transaction.
contract TronGateway is Deposits, Commands {
    uint256 internal constant BATCH = 16;

    /// The precompile's address; tests put a contract in its place.
    address public immutable BATCH_VERIFIER;

    constructor(Settings memory settings, address batchVerifier) GatewayStorage(settings) {
        if (batchVerifier == address(0)) revert ZeroAddress();
        BATCH_VERIFIER = batchVerifier;
    }

    function _verifySignatures(bytes32 digest, bytes calldata set, bytes calldata signatures, uint256 count)
        internal
        view
        override
        returns (uint256 power)
    {
        uint256 members = (set.length - SET_HEAD) / MEMBER_BYTES;
        address verifier = BATCH_VERIFIER;
        uint256 next;
        uint256 bad = type(uint256).max;
        for (uint256 from; from < count; from += BATCH) {
            uint256 size = count - from < BATCH ? count - from : BATCH;
            assembly ("memory-safe") {
                // (bytes32 digest, bytes[] signatures, address[] signers), as the ABI lays it out.
                let input := mload(0x40)
                let list := add(input, 0x60)
                let signers := add(list, add(0x20, mul(size, 0xa0)))
                mstore(input, digest)
                mstore(add(input, 0x20), 0x60)
                mstore(add(input, 0x40), sub(signers, input))
                mstore(list, size)
                mstore(signers, size)
                for { let i := 0 } lt(i, size) { i := add(i, 1) } {
                    let at := add(signatures.offset, mul(add(from, i), SIGNATURE_BYTES))
                    let index := byte(0, calldataload(at))
                    let s := calldataload(add(at, 33))
                    let v := byte(0, calldataload(add(at, 65)))
                    // Indices ascend strictly and name a member; one signature has one form.
                    if or(
                        or(lt(index, next), iszero(lt(index, members))),
                        or(gt(s, HALF_ORDER), gt(sub(v, 27), 1))
                    ) {
                        bad := add(from, i)
                        break
                    }
                    next := add(index, 1)
                    let offset := add(mul(size, 0x20), mul(i, 0x80))
                    mstore(add(list, add(0x20, mul(i, 0x20))), offset)
                    let entry := add(add(list, 0x20), offset)
                    mstore(entry, 65)
                    // The last word first: what follows the signature in the calldata must not stay in it.
                    mstore(add(entry, 0x60), shl(248, v))
                    mstore(add(entry, 0x20), calldataload(add(at, 1)))
                    mstore(add(entry, 0x40), s)
                    let member := calldataload(add(add(set.offset, SET_HEAD), mul(index, MEMBER_BYTES)))
                    mstore(add(signers, add(0x20, mul(i, 0x20))), shr(96, member))
                    power := add(power, and(shr(32, member), 0xffffffffffffffff))
                }
                if eq(bad, not(0)) {
                    mstore(0, 0)
                    let length := add(sub(signers, input), mul(add(size, 1), 0x20))
                    let ok := staticcall(gas(), verifier, input, length, 0, 32)
                    // A byte of one for each signature, from the left.
                    let wanted := shl(mul(sub(32, size), 8), div(sub(shl(mul(size, 8), 1), 1), 255))
                    if or(or(iszero(ok), iszero(eq(returndatasize(), 32))), iszero(eq(mload(0), wanted))) { bad := from }
                }
            }
            if (bad != type(uint256).max) revert BadSignature(bad);
        }
    }
}
