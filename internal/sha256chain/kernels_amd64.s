//go:build !purego

#include "textflag.h"

// SHA-256 (FIPS 180-4) of 32 bytes, in a loop. The sixteen words of the message
// are W0 to W7, which are what is hashed, then 0x80000000, six zeros and 256, the
// padding and the length in bits: always the same. Hence
//   - the table holds K + W for the rounds 8 to 15,
//   - the words W16 to W31, which are made of those, have fewer terms.
// Every round is written by a macro; a program that generates them would be
// longer than what it makes.

// table: K, where the rounds 8 to 15 have the padding added.
DATA table<>+0x00(SB)/4, $0x428a2f98
DATA table<>+0x04(SB)/4, $0x71374491
DATA table<>+0x08(SB)/4, $0xb5c0fbcf
DATA table<>+0x0c(SB)/4, $0xe9b5dba5
DATA table<>+0x10(SB)/4, $0x3956c25b
DATA table<>+0x14(SB)/4, $0x59f111f1
DATA table<>+0x18(SB)/4, $0x923f82a4
DATA table<>+0x1c(SB)/4, $0xab1c5ed5
DATA table<>+0x20(SB)/4, $0x5807aa98 // 0xd807aa98 + 0x80000000
DATA table<>+0x24(SB)/4, $0x12835b01
DATA table<>+0x28(SB)/4, $0x243185be
DATA table<>+0x2c(SB)/4, $0x550c7dc3
DATA table<>+0x30(SB)/4, $0x72be5d74
DATA table<>+0x34(SB)/4, $0x80deb1fe
DATA table<>+0x38(SB)/4, $0x9bdc06a7
DATA table<>+0x3c(SB)/4, $0xc19bf274 // 0xc19bf174 + 256
DATA table<>+0x40(SB)/4, $0xe49b69c1
DATA table<>+0x44(SB)/4, $0xefbe4786
DATA table<>+0x48(SB)/4, $0x0fc19dc6
DATA table<>+0x4c(SB)/4, $0x240ca1cc
DATA table<>+0x50(SB)/4, $0x2de92c6f
DATA table<>+0x54(SB)/4, $0x4a7484aa
DATA table<>+0x58(SB)/4, $0x5cb0a9dc
DATA table<>+0x5c(SB)/4, $0x76f988da
DATA table<>+0x60(SB)/4, $0x983e5152
DATA table<>+0x64(SB)/4, $0xa831c66d
DATA table<>+0x68(SB)/4, $0xb00327c8
DATA table<>+0x6c(SB)/4, $0xbf597fc7
DATA table<>+0x70(SB)/4, $0xc6e00bf3
DATA table<>+0x74(SB)/4, $0xd5a79147
DATA table<>+0x78(SB)/4, $0x06ca6351
DATA table<>+0x7c(SB)/4, $0x14292967
DATA table<>+0x80(SB)/4, $0x27b70a85
DATA table<>+0x84(SB)/4, $0x2e1b2138
DATA table<>+0x88(SB)/4, $0x4d2c6dfc
DATA table<>+0x8c(SB)/4, $0x53380d13
DATA table<>+0x90(SB)/4, $0x650a7354
DATA table<>+0x94(SB)/4, $0x766a0abb
DATA table<>+0x98(SB)/4, $0x81c2c92e
DATA table<>+0x9c(SB)/4, $0x92722c85
DATA table<>+0xa0(SB)/4, $0xa2bfe8a1
DATA table<>+0xa4(SB)/4, $0xa81a664b
DATA table<>+0xa8(SB)/4, $0xc24b8b70
DATA table<>+0xac(SB)/4, $0xc76c51a3
DATA table<>+0xb0(SB)/4, $0xd192e819
DATA table<>+0xb4(SB)/4, $0xd6990624
DATA table<>+0xb8(SB)/4, $0xf40e3585
DATA table<>+0xbc(SB)/4, $0x106aa070
DATA table<>+0xc0(SB)/4, $0x19a4c116
DATA table<>+0xc4(SB)/4, $0x1e376c08
DATA table<>+0xc8(SB)/4, $0x2748774c
DATA table<>+0xcc(SB)/4, $0x34b0bcb5
DATA table<>+0xd0(SB)/4, $0x391c0cb3
DATA table<>+0xd4(SB)/4, $0x4ed8aa4a
DATA table<>+0xd8(SB)/4, $0x5b9cca4f
DATA table<>+0xdc(SB)/4, $0x682e6ff3
DATA table<>+0xe0(SB)/4, $0x748f82ee
DATA table<>+0xe4(SB)/4, $0x78a5636f
DATA table<>+0xe8(SB)/4, $0x84c87814
DATA table<>+0xec(SB)/4, $0x8cc70208
DATA table<>+0xf0(SB)/4, $0x90befffa
DATA table<>+0xf4(SB)/4, $0xa4506ceb
DATA table<>+0xf8(SB)/4, $0xbef9a3f7
DATA table<>+0xfc(SB)/4, $0xc67178f2
GLOBL table<>(SB), NOPTR|RODATA, $256

// initial: H0, A to H.
DATA initial<>+0x00(SB)/4, $0x6a09e667
DATA initial<>+0x04(SB)/4, $0xbb67ae85
DATA initial<>+0x08(SB)/4, $0x3c6ef372
DATA initial<>+0x0c(SB)/4, $0xa54ff53a
DATA initial<>+0x10(SB)/4, $0x510e527f
DATA initial<>+0x14(SB)/4, $0x9b05688c
DATA initial<>+0x18(SB)/4, $0x1f83d9ab
DATA initial<>+0x1c(SB)/4, $0x5be0cd19
GLOBL initial<>(SB), NOPTR|RODATA, $32

// initialPairs: the same as the SHA instructions want it, F E B A and H G D C.
DATA initialPairs<>+0x00(SB)/4, $0x9b05688c
DATA initialPairs<>+0x04(SB)/4, $0x510e527f
DATA initialPairs<>+0x08(SB)/4, $0xbb67ae85
DATA initialPairs<>+0x0c(SB)/4, $0x6a09e667
DATA initialPairs<>+0x10(SB)/4, $0x5be0cd19
DATA initialPairs<>+0x14(SB)/4, $0x1f83d9ab
DATA initialPairs<>+0x18(SB)/4, $0xa54ff53a
DATA initialPairs<>+0x1c(SB)/4, $0x3c6ef372
GLOBL initialPairs<>(SB), NOPTR|RODATA, $32

// padding: W8 to W15.
DATA padding<>+0x00(SB)/4, $0x80000000
DATA padding<>+0x04(SB)/4, $0x00000000
DATA padding<>+0x08(SB)/4, $0x00000000
DATA padding<>+0x0c(SB)/4, $0x00000000
DATA padding<>+0x10(SB)/4, $0x00000000
DATA padding<>+0x14(SB)/4, $0x00000000
DATA padding<>+0x18(SB)/4, $0x00000000
DATA padding<>+0x1c(SB)/4, $0x00000100
GLOBL padding<>(SB), NOPTR|RODATA, $32

// sigmas: sigma1(W15), sigma0(W8), sigma0(W15).
DATA sigmas<>+0x00(SB)/4, $0x00a00000
DATA sigmas<>+0x04(SB)/4, $0x11002000
DATA sigmas<>+0x08(SB)/4, $0x00400022
GLOBL sigmas<>(SB), NOPTR|RODATA, $12

// first: what the first round adds to W0, from the initial state: to make E and
// A; and G with K of the second round.
DATA first<>+0x00(SB)/4, $0x98c7e2a2
DATA first<>+0x04(SB)/4, $0xfc08884d
DATA first<>+0x08(SB)/4, $0x90bb1e3c
GLOBL first<>(SB), NOPTR|RODATA, $12

// bigEndian: the bytes of four words the other way round.
DATA bigEndian<>+0x00(SB)/8, $0x0405060700010203
DATA bigEndian<>+0x08(SB)/8, $0x0c0d0e0f08090a0b
GLOBL bigEndian<>(SB), NOPTR|RODATA, $16

// func cpuid(leaf uint32) (eax, ebx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-16
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	RET

// --- The SHA instructions: one chain, and two in turns -----------------------
//
// R8 is the table, R9 the padding, R10 the initial state. A state has two
// registers, s0 (A B E F) and s1 (C D G H); the last sixteen words of the message
// have four, m0 to m3, the oldest first. X0 is where the instructions look for
// W + K.

// FOUR does four rounds with the words m, which are from round t/4 on.
#define FOUR(t, m, s0, s1) \
	MOVO   m, X0; \
	PADDD  t(R8), X0; \
	SHA256RNDS2 X0, s0, s1; \
	PSHUFD $0x0e, X0, X0; \
	SHA256RNDS2 X0, s1, s0

// FOURCONSTANT does so with words that are in the table already.
#define FOURCONSTANT(t, s0, s1) \
	MOVO   t(R8), X0; \
	SHA256RNDS2 X0, s0, s1; \
	PSHUFD $0x0e, X0, X0; \
	SHA256RNDS2 X0, s1, s0

// NEXT replaces the oldest four words, m0, by the next.
#define NEXT(m0, m1, m2, m3, temporary) \
	SHA256MSG1 m1, m0; \
	MOVO    m3, temporary; \
	PALIGNR $4, m2, temporary; \
	PADDD   temporary, m0; \
	SHA256MSG2 m3, m0

// NEXT16 to NEXT28 do so for W16 to W31, where m2 and m3 are the padding.
#define NEXT16(m0, m1) \
	SHA256MSG1 m1, m0; \
	SHA256MSG2 16(R9), m0

#define NEXT20(m0, m1, temporary) \
	SHA256MSG1 (R9), m1; \
	MOVO    m0, temporary; \
	PALIGNR $4, 16(R9), temporary; \
	PADDD   temporary, m1; \
	SHA256MSG2 m0, m1

#define NEXT24(m0, m1, m2) \
	MOVO    m1, m2; \
	PALIGNR $4, m0, m2; \
	PADDD   (R9), m2; \
	SHA256MSG2 m1, m2

#define NEXT28(m0, m1, m2, m3, temporary) \
	MOVO    16(R9), m3; \
	NEXT(m3, m0, m1, m2, temporary)

// INITIAL sets a state to the initial one.
#define INITIAL(s0, s1) \
	MOVO (R10), s0; \
	MOVO 16(R10), s1

// FEEDBACK makes the next message of a state: A to D in m0, E to H in m1.
#define FEEDBACK(s0, s1, m0, m1) \
	PADDD      (R10), s0; \
	PADDD      16(R10), s1; \
	MOVO       s0, m0; \
	PUNPCKHQDQ s1, m0; \
	PSHUFD     $0xb1, m0, m0; \
	MOVO       s0, m1; \
	PUNPCKLQDQ s1, m1; \
	PSHUFD     $0xb1, m1, m1

// LOAD and STORE take a word from memory and back.
#define LOAD(from, m0, m1) \
	MOVOU  (from), m0; \
	MOVOU  16(from), m1; \
	PSHUFB bigEndian<>(SB), m0; \
	PSHUFB bigEndian<>(SB), m1

#define STORE(m0, m1, to) \
	PSHUFB bigEndian<>(SB), m0; \
	PSHUFB bigEndian<>(SB), m1; \
	MOVOU  m0, (to); \
	MOVOU  m1, 16(to)

#define TABLES \
	LEAQ table<>(SB), R8; \
	LEAQ padding<>(SB), R9; \
	LEAQ initialPairs<>(SB), R10

// func walkSHA(word *[32]byte, steps uint64)
TEXT ·walkSHA(SB), NOSPLIT, $0-16
	MOVQ word+0(FP), DI
	MOVQ steps+8(FP), CX
	TABLES
	LOAD(DI, X3, X4)

one:
	INITIAL(X1, X2)
	FOUR(0, X3, X1, X2)
	FOUR(16, X4, X1, X2)
	NEXT16(X3, X4)
	FOURCONSTANT(32, X1, X2)
	NEXT20(X3, X4, X7)
	FOURCONSTANT(48, X1, X2)
	NEXT24(X3, X4, X5)
	FOUR(64, X3, X1, X2)
	NEXT28(X3, X4, X5, X6, X7)
	FOUR(80, X4, X1, X2)
	NEXT(X3, X4, X5, X6, X7)
	FOUR(96, X5, X1, X2)
	NEXT(X4, X5, X6, X3, X7)
	FOUR(112, X6, X1, X2)
	NEXT(X5, X6, X3, X4, X7)
	FOUR(128, X3, X1, X2)
	NEXT(X6, X3, X4, X5, X7)
	FOUR(144, X4, X1, X2)
	NEXT(X3, X4, X5, X6, X7)
	FOUR(160, X5, X1, X2)
	NEXT(X4, X5, X6, X3, X7)
	FOUR(176, X6, X1, X2)
	NEXT(X5, X6, X3, X4, X7)
	FOUR(192, X3, X1, X2)
	NEXT(X6, X3, X4, X5, X7)
	FOUR(208, X4, X1, X2)
	FOUR(224, X5, X1, X2)
	FOUR(240, X6, X1, X2)
	FEEDBACK(X1, X2, X3, X4)
	DECQ CX
	JNZ  one

	STORE(X3, X4, DI)
	RET

// BOTH does four rounds of both chains and makes the next words of both.
#define BOTH(t, m, n) \
	FOUR(t, m, X1, X2); \
	FOUR(t, n, X8, X9)

#define NEXTBOTH(m0, m1, m2, m3, n0, n1, n2, n3) \
	NEXT(m0, m1, m2, m3, X7); \
	NEXT(n0, n1, n2, n3, X14)

// func walkPairSHA(a, b *[32]byte, steps uint64)
TEXT ·walkPairSHA(SB), NOSPLIT, $0-24
	MOVQ a+0(FP), DI
	MOVQ b+8(FP), SI
	MOVQ steps+16(FP), CX
	TABLES
	LOAD(DI, X3, X4)
	LOAD(SI, X10, X11)

two:
	INITIAL(X1, X2)
	INITIAL(X8, X9)
	BOTH(0, X3, X10)
	BOTH(16, X4, X11)
	NEXT16(X3, X4)
	NEXT16(X10, X11)
	FOURCONSTANT(32, X1, X2)
	FOURCONSTANT(32, X8, X9)
	NEXT20(X3, X4, X7)
	NEXT20(X10, X11, X14)
	FOURCONSTANT(48, X1, X2)
	FOURCONSTANT(48, X8, X9)
	NEXT24(X3, X4, X5)
	NEXT24(X10, X11, X12)
	BOTH(64, X3, X10)
	NEXT28(X3, X4, X5, X6, X7)
	NEXT28(X10, X11, X12, X13, X14)
	BOTH(80, X4, X11)
	NEXTBOTH(X3, X4, X5, X6, X10, X11, X12, X13)
	BOTH(96, X5, X12)
	NEXTBOTH(X4, X5, X6, X3, X11, X12, X13, X10)
	BOTH(112, X6, X13)
	NEXTBOTH(X5, X6, X3, X4, X12, X13, X10, X11)
	BOTH(128, X3, X10)
	NEXTBOTH(X6, X3, X4, X5, X13, X10, X11, X12)
	BOTH(144, X4, X11)
	NEXTBOTH(X3, X4, X5, X6, X10, X11, X12, X13)
	BOTH(160, X5, X12)
	NEXTBOTH(X4, X5, X6, X3, X11, X12, X13, X10)
	BOTH(176, X6, X13)
	NEXTBOTH(X5, X6, X3, X4, X12, X13, X10, X11)
	BOTH(192, X3, X10)
	NEXTBOTH(X6, X3, X4, X5, X13, X10, X11, X12)
	BOTH(208, X4, X11)
	BOTH(224, X5, X12)
	BOTH(240, X6, X13)
	FEEDBACK(X1, X2, X3, X4)
	FEEDBACK(X8, X9, X10, X11)
	DECQ CX
	JNZ  two

	STORE(X3, X4, DI)
	STORE(X10, X11, SI)
	RET

// --- AVX-512: sixteen chains, one in each lane --------------------------------
//
// Z0 to Z7 are A to H, Z8 to Z23 the last sixteen words of the message, Z24 to
// Z28 temporary. R8 is the table, R9 the padding, R10 the initial state, R11 the
// sigmas, R12 what the first round adds.

// MIX does the part of a round after h += W + K. VPTERNLOGD makes any function of
// three bits: 0x96 is their sum, 0xca chooses between two, 0xe8 is their majority.
#define MIX(a, b, c, d, e, f, g, h) \
	VPRORD     $6, e, Z24; \
	VPRORD     $11, e, Z25; \
	VPRORD     $25, e, Z26; \
	VPTERNLOGD $0x96, Z24, Z25, Z26; \
	VMOVDQA32  e, Z27; \
	VPTERNLOGD $0xca, g, f, Z27; \
	VPADDD     Z26, h, h; \
	VPADDD     Z27, h, h; \
	VPADDD     h, d, d; \
	VPRORD     $2, a, Z24; \
	VPRORD     $13, a, Z25; \
	VPRORD     $22, a, Z26; \
	VPTERNLOGD $0x96, Z24, Z25, Z26; \
	VMOVDQA32  a, Z28; \
	VPTERNLOGD $0xe8, c, b, Z28; \
	VPADDD     Z26, h, h; \
	VPADDD     Z28, h, h

// ROUND does round t/4 with word w.
#define ROUND(t, a, b, c, d, e, f, g, h, w) \
	VPADDD      w, h, h; \
	VPADDD.BCST t(R8), h, h; \
	MIX(a, b, c, d, e, f, g, h)

// ROUNDCONSTANT does so where the word is in the table already.
#define ROUNDCONSTANT(t, a, b, c, d, e, f, g, h) \
	VPADDD.BCST t(R8), h, h; \
	MIX(a, b, c, d, e, f, g, h)

// SIGMA0 and SIGMA1 make sum = term + sigma(w).
#define SIGMA0(w, term, sum) \
	VPRORD     $7, w, Z24; \
	VPRORD     $18, w, Z25; \
	VPSRLD     $3, w, Z26; \
	VPTERNLOGD $0x96, Z24, Z25, Z26; \
	VPADDD     Z26, term, sum

#define SIGMA1(w, term, sum) \
	VPRORD     $17, w, Z24; \
	VPRORD     $19, w, Z25; \
	VPSRLD     $10, w, Z26; \
	VPTERNLOGD $0x96, Z24, Z25, Z26; \
	VPADDD     Z26, term, sum

// WORD replaces w0, of sixteen rounds ago, by the next word.
#define WORD(w0, w1, w9, w14) \
	VPADDD w9, w0, w0; \
	SIGMA0(w1, w0, w0); \
	SIGMA1(w14, w0, w0)

// EIGHT does eight rounds; then every number is in its register again.
#define EIGHT(t, w0, w1, w2, w3, w4, w5, w6, w7) \
	ROUND(t+0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, w0); \
	ROUND(t+4, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6, w1); \
	ROUND(t+8, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, w2); \
	ROUND(t+12, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, w3); \
	ROUND(t+16, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, w4); \
	ROUND(t+20, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, w5); \
	ROUND(t+24, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, w6); \
	ROUND(t+28, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, w7)

// FIRSTEIGHT does the first eight rounds, of which the state before is known.
#define FIRSTEIGHT(w0, w1, w2, w3, w4, w5, w6, w7) \
	VPADDD.BCST  0(R12), w0, Z3; \
	VPADDD.BCST  4(R12), w0, Z7; \
	VPBROADCASTD 8(R12), Z6; \
	VPBROADCASTD 0(R10), Z0; \
	VPBROADCASTD 4(R10), Z1; \
	VPBROADCASTD 8(R10), Z2; \
	VPBROADCASTD 16(R10), Z4; \
	VPBROADCASTD 20(R10), Z5; \
	VPADDD       w1, Z6, Z6; \
	MIX(Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6); \
	ROUND(8, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5, w2); \
	ROUND(12, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4, w3); \
	ROUND(16, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3, w4); \
	ROUND(20, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2, w5); \
	ROUND(24, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1, w6); \
	ROUND(28, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0, w7)

#define EIGHTCONSTANT(t) \
	ROUNDCONSTANT(t+0, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7); \
	ROUNDCONSTANT(t+4, Z7, Z0, Z1, Z2, Z3, Z4, Z5, Z6); \
	ROUNDCONSTANT(t+8, Z6, Z7, Z0, Z1, Z2, Z3, Z4, Z5); \
	ROUNDCONSTANT(t+12, Z5, Z6, Z7, Z0, Z1, Z2, Z3, Z4); \
	ROUNDCONSTANT(t+16, Z4, Z5, Z6, Z7, Z0, Z1, Z2, Z3); \
	ROUNDCONSTANT(t+20, Z3, Z4, Z5, Z6, Z7, Z0, Z1, Z2); \
	ROUNDCONSTANT(t+24, Z2, Z3, Z4, Z5, Z6, Z7, Z0, Z1); \
	ROUNDCONSTANT(t+28, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z0)

// LOWWORDS and HIGHWORDS make the next eight words each.
#define LOWWORDS \
	WORD(Z8, Z9, Z17, Z22); \
	WORD(Z9, Z10, Z18, Z23); \
	WORD(Z10, Z11, Z19, Z8); \
	WORD(Z11, Z12, Z20, Z9); \
	WORD(Z12, Z13, Z21, Z10); \
	WORD(Z13, Z14, Z22, Z11); \
	WORD(Z14, Z15, Z23, Z12); \
	WORD(Z15, Z16, Z8, Z13)

#define HIGHWORDS \
	WORD(Z16, Z17, Z9, Z14); \
	WORD(Z17, Z18, Z10, Z15); \
	WORD(Z18, Z19, Z11, Z16); \
	WORD(Z19, Z20, Z12, Z17); \
	WORD(Z20, Z21, Z13, Z18); \
	WORD(Z21, Z22, Z14, Z19); \
	WORD(Z22, Z23, Z15, Z20); \
	WORD(Z23, Z8, Z16, Z21)

// W16to23 and W24to31 do so where some of the words are the padding, and their
// terms are constants or zero.
#define W16to23 \
	SIGMA0(Z9, Z8, Z8); \
	SIGMA0(Z10, Z9, Z9); \
	VPADDD.BCST 0(R11), Z9, Z9; \
	SIGMA0(Z11, Z10, Z10); \
	SIGMA1(Z8, Z10, Z10); \
	SIGMA0(Z12, Z11, Z11); \
	SIGMA1(Z9, Z11, Z11); \
	SIGMA0(Z13, Z12, Z12); \
	SIGMA1(Z10, Z12, Z12); \
	SIGMA0(Z14, Z13, Z13); \
	SIGMA1(Z11, Z13, Z13); \
	VPADDD.BCST 28(R9), Z14, Z14; \
	SIGMA0(Z15, Z14, Z14); \
	SIGMA1(Z12, Z14, Z14); \
	VPADDD.BCST 4(R11), Z15, Z15; \
	VPADDD      Z8, Z15, Z15; \
	SIGMA1(Z13, Z15, Z15)

#define W24to31 \
	VPADDD.BCST 0(R9), Z9, Z16; \
	SIGMA1(Z14, Z16, Z16); \
	SIGMA1(Z15, Z10, Z17); \
	SIGMA1(Z16, Z11, Z18); \
	SIGMA1(Z17, Z12, Z19); \
	SIGMA1(Z18, Z13, Z20); \
	SIGMA1(Z19, Z14, Z21); \
	VPADDD.BCST 8(R11), Z15, Z22; \
	SIGMA1(Z20, Z22, Z22); \
	VPADDD.BCST 28(R9), Z16, Z23; \
	SIGMA0(Z8, Z23, Z23); \
	SIGMA1(Z21, Z23, Z23)

// func walkLanes(words *[8][16]uint32, steps uint64)
TEXT ·walkLanes(SB), NOSPLIT, $0-16
	MOVQ words+0(FP), DI
	MOVQ steps+8(FP), CX
	LEAQ table<>(SB), R8
	LEAQ padding<>(SB), R9
	LEAQ initial<>(SB), R10
	LEAQ sigmas<>(SB), R11
	LEAQ first<>(SB), R12
	VMOVDQU32 0(DI), Z8
	VMOVDQU32 64(DI), Z9
	VMOVDQU32 128(DI), Z10
	VMOVDQU32 192(DI), Z11
	VMOVDQU32 256(DI), Z12
	VMOVDQU32 320(DI), Z13
	VMOVDQU32 384(DI), Z14
	VMOVDQU32 448(DI), Z15

sixteen:
	FIRSTEIGHT(Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	EIGHTCONSTANT(32)
	W16to23
	EIGHT(64, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	W24to31
	EIGHT(96, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	LOWWORDS
	EIGHT(128, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	HIGHWORDS
	EIGHT(160, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	LOWWORDS
	EIGHT(192, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15)
	HIGHWORDS
	EIGHT(224, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23)
	VPADDD.BCST 0(R10), Z0, Z8
	VPADDD.BCST 4(R10), Z1, Z9
	VPADDD.BCST 8(R10), Z2, Z10
	VPADDD.BCST 12(R10), Z3, Z11
	VPADDD.BCST 16(R10), Z4, Z12
	VPADDD.BCST 20(R10), Z5, Z13
	VPADDD.BCST 24(R10), Z6, Z14
	VPADDD.BCST 28(R10), Z7, Z15
	DECQ CX
	JNZ  sixteen

	VMOVDQU32 Z8, 0(DI)
	VMOVDQU32 Z9, 64(DI)
	VMOVDQU32 Z10, 128(DI)
	VMOVDQU32 Z11, 192(DI)
	VMOVDQU32 Z12, 256(DI)
	VMOVDQU32 Z13, 320(DI)
	VMOVDQU32 Z14, 384(DI)
	VMOVDQU32 Z15, 448(DI)
	VZEROUPPER
	RET
