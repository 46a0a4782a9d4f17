//go:build !purego

#include "textflag.h"

// Numbers modulo p = 2^255 - 19, eight at a time: one in each lane of the
// registers, five limbs of 51 bits in five registers. A limb is reduced if it is
// below 2^51 + 2^15; all that is stored is. VPMADD52LUQ and VPMADD52HUQ add the
// lower and the upper 52 bits of a product of 52 bits by 52 bits.

DATA mask<>+0(SB)/8, $0x7ffffffffffff // 2^51 - 1
GLOBL mask<>(SB), NOPTR|RODATA, $8
DATA nineteen<>+0(SB)/8, $19
GLOBL nineteen<>(SB), NOPTR|RODATA, $8
DATA twiceP<>+0(SB)/8, $0xfffffffffffda // the limbs of 2 * p: the first
DATA twiceP<>+8(SB)/8, $0xffffffffffffe // and the others
GLOBL twiceP<>(SB), NOPTR|RODATA, $16

// lanes: where the buckets of each lane begin, in numbers of 64 bits.
DATA lanes<>+0x00(SB)/8, $0
DATA lanes<>+0x08(SB)/8, $20
DATA lanes<>+0x10(SB)/8, $40
DATA lanes<>+0x18(SB)/8, $60
DATA lanes<>+0x20(SB)/8, $80
DATA lanes<>+0x28(SB)/8, $100
DATA lanes<>+0x30(SB)/8, $120
DATA lanes<>+0x38(SB)/8, $140
GLOBL lanes<>(SB), NOPTR|RODATA, $64

// CONSTANTS fills Z28 to Z31. The macros below take a in Z0 to Z4, b in Z5 to Z9,
// leave both as they are and give Z10 to Z14.
#define CONSTANTS \
	VPBROADCASTQ twiceP<>+0(SB), Z28; \
	VPBROADCASTQ twiceP<>+8(SB), Z29; \
	VPBROADCASTQ nineteen<>(SB), Z30; \
	VPBROADCASTQ mask<>(SB), Z31

#define LOAD(at, from, r0, r1, r2, r3, r4) \
	VMOVDQU64 0+at(from), r0; \
	VMOVDQU64 64+at(from), r1; \
	VMOVDQU64 128+at(from), r2; \
	VMOVDQU64 192+at(from), r3; \
	VMOVDQU64 256+at(from), r4

// SPREAD loads one number into all lanes.
#define SPREAD(at, from, r0, r1, r2, r3, r4) \
	VPBROADCASTQ 0+at(from), r0; \
	VPBROADCASTQ 8+at(from), r1; \
	VPBROADCASTQ 16+at(from), r2; \
	VPBROADCASTQ 24+at(from), r3; \
	VPBROADCASTQ 32+at(from), r4

#define STORE(at, to) \
	VMOVDQU64 Z10, 0+at(to); \
	VMOVDQU64 Z11, 64+at(to); \
	VMOVDQU64 Z12, 128+at(to); \
	VMOVDQU64 Z13, 192+at(to); \
	VMOVDQU64 Z14, 256+at(to)

#define MOVE(r0, r1, r2, r3, r4) \
	VMOVDQA64 Z10, r0; \
	VMOVDQA64 Z11, r1; \
	VMOVDQA64 Z12, r2; \
	VMOVDQA64 Z13, r3; \
	VMOVDQA64 Z14, r4

// CARRY reduces limbs of up to 2^61: what is above 51 bits goes to the next
// limb, and 19 times what is above the last to the first.
#define CARRY \
	VPSRLQ $51, Z10, Z15; \
	VPSRLQ $51, Z11, Z16; \
	VPSRLQ $51, Z12, Z17; \
	VPSRLQ $51, Z13, Z18; \
	VPSRLQ $51, Z14, Z19; \
	VPANDQ Z31, Z10, Z10; \
	VPANDQ Z31, Z11, Z11; \
	VPANDQ Z31, Z12, Z12; \
	VPANDQ Z31, Z13, Z13; \
	VPANDQ Z31, Z14, Z14; \
	VPMADD52LUQ Z30, Z19, Z10; \
	VPADDQ Z15, Z11, Z11; \
	VPADDQ Z16, Z12, Z12; \
	VPADDQ Z17, Z13, Z13; \
	VPADDQ Z18, Z14, Z14

// SUM is a + b.
#define SUM \
	VPADDQ Z5, Z0, Z10; \
	VPADDQ Z6, Z1, Z11; \
	VPADDQ Z7, Z2, Z12; \
	VPADDQ Z8, Z3, Z13; \
	VPADDQ Z9, Z4, Z14; \
	CARRY

// DIFFERENCE is a + 2*p - b: no limb is negative.
#define DIFFERENCE \
	VPADDQ Z28, Z0, Z10; \
	VPADDQ Z29, Z1, Z11; \
	VPADDQ Z29, Z2, Z12; \
	VPADDQ Z29, Z3, Z13; \
	VPADDQ Z29, Z4, Z14; \
	VPSUBQ Z5, Z10, Z10; \
	VPSUBQ Z6, Z11, Z11; \
	VPSUBQ Z7, Z12, Z12; \
	VPSUBQ Z8, Z13, Z13; \
	VPSUBQ Z9, Z14, Z14; \
	CARRY

// ROW adds one limb of a times all of b: the lower halves and the upper ones.
#define ROW(a, l0, l1, l2, l3, l4, h0, h1, h2, h3, h4) \
	VPMADD52LUQ Z5, a, l0; \
	VPMADD52LUQ Z6, a, l1; \
	VPMADD52LUQ Z7, a, l2; \
	VPMADD52LUQ Z8, a, l3; \
	VPMADD52LUQ Z9, a, l4; \
	VPMADD52HUQ Z5, a, h0; \
	VPMADD52HUQ Z6, a, h1; \
	VPMADD52HUQ Z7, a, h2; \
	VPMADD52HUQ Z8, a, h3; \
	VPMADD52HUQ Z9, a, h4

// FOLD adds 19 * high to low; 2^255 is 19. It spoils high.
#define FOLD(high, low, temporary) \
	VPSLLQ $4, high, temporary; \
	VPADDQ high, low, low; \
	VPADDQ high, high, high; \
	VPADDQ temporary, low, low; \
	VPADDQ high, low, low

// TWICE adds 2 * high to low: upper halves count 2^52, which is twice a limb.
#define TWICE(high, low) \
	VPADDQ high, high, high; \
	VPADDQ high, low, low

// PRODUCT is a * b. The ten limbs of the product are the lower halves in Z10 to
// Z18 and the upper ones in Z19 to Z27, one place further. At most five of 52
// bits are added up, so that no limb reaches 2^56, nor 2^61 after FOLD.
#define PRODUCT \
	VPXORQ Z10, Z10, Z10; \
	VPXORQ Z11, Z11, Z11; \
	VPXORQ Z12, Z12, Z12; \
	VPXORQ Z13, Z13, Z13; \
	VPXORQ Z14, Z14, Z14; \
	VPXORQ Z15, Z15, Z15; \
	VPXORQ Z16, Z16, Z16; \
	VPXORQ Z17, Z17, Z17; \
	VPXORQ Z18, Z18, Z18; \
	VPXORQ Z19, Z19, Z19; \
	VPXORQ Z20, Z20, Z20; \
	VPXORQ Z21, Z21, Z21; \
	VPXORQ Z22, Z22, Z22; \
	VPXORQ Z23, Z23, Z23; \
	VPXORQ Z24, Z24, Z24; \
	VPXORQ Z25, Z25, Z25; \
	VPXORQ Z26, Z26, Z26; \
	VPXORQ Z27, Z27, Z27; \
	ROW(Z0, Z10, Z11, Z12, Z13, Z14, Z19, Z20, Z21, Z22, Z23); \
	ROW(Z1, Z11, Z12, Z13, Z14, Z15, Z20, Z21, Z22, Z23, Z24); \
	ROW(Z2, Z12, Z13, Z14, Z15, Z16, Z21, Z22, Z23, Z24, Z25); \
	ROW(Z3, Z13, Z14, Z15, Z16, Z17, Z22, Z23, Z24, Z25, Z26); \
	ROW(Z4, Z14, Z15, Z16, Z17, Z18, Z23, Z24, Z25, Z26, Z27); \
	TWICE(Z19, Z11); \
	TWICE(Z20, Z12); \
	TWICE(Z21, Z13); \
	TWICE(Z22, Z14); \
	TWICE(Z23, Z15); \
	TWICE(Z24, Z16); \
	TWICE(Z25, Z17); \
	TWICE(Z26, Z18); \
	VPADDQ Z27, Z27, Z27; \
	FOLD(Z15, Z10, Z19); \
	FOLD(Z16, Z11, Z20); \
	FOLD(Z17, Z12, Z21); \
	FOLD(Z18, Z13, Z22); \
	FOLD(Z27, Z14, Z23); \
	CARRY

#define OPERANDS \
	MOVQ result+0(FP), DI; \
	MOVQ a+8(FP), SI; \
	MOVQ b+16(FP), DX; \
	CONSTANTS; \
	LOAD(0, SI, Z0, Z1, Z2, Z3, Z4); \
	LOAD(0, DX, Z5, Z6, Z7, Z8, Z9)

// func multiply(result, a, b *element)
TEXT ·multiply(SB), NOSPLIT, $0-24
	OPERANDS
	PRODUCT
	STORE(0, DI)
	VZEROUPPER
	RET

// func add(result, a, b *element)
TEXT ·add(SB), NOSPLIT, $0-24
	OPERANDS
	SUM
	STORE(0, DI)
	VZEROUPPER
	RET

// func subtract(result, a, b *element)
TEXT ·subtract(SB), NOSPLIT, $0-24
	OPERANDS
	DIFFERENCE
	STORE(0, DI)
	VZEROUPPER
	RET

// func square(result, a *element, times uint64)
TEXT ·square(SB), NOSPLIT, $0-24
	MOVQ result+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ times+16(FP), CX
	CONSTANTS
	LOAD(0, SI, Z10, Z11, Z12, Z13, Z14)

again:
	MOVE(Z0, Z1, Z2, Z3, Z4)
	MOVE(Z5, Z6, Z7, Z8, Z9)
	PRODUCT
	DECQ CX
	JNZ  again
	STORE(0, DI)
	VZEROUPPER
	RET

// GATHER and SCATTER move one coordinate of the buckets whose places are in Z27.
#define GATHER(at, r0, r1, r2, r3, r4) \
	KXNORW K1, K1, K1; \
	KXNORW K2, K2, K2; \
	KXNORW K3, K3, K3; \
	KXNORW K4, K4, K4; \
	KXNORW K5, K5, K5; \
	VPGATHERQQ at+0(DI)(Z27*8), K1, r0; \
	VPGATHERQQ at+8(DI)(Z27*8), K2, r1; \
	VPGATHERQQ at+16(DI)(Z27*8), K3, r2; \
	VPGATHERQQ at+24(DI)(Z27*8), K4, r3; \
	VPGATHERQQ at+32(DI)(Z27*8), K5, r4

#define SCATTER(at) \
	VMOVDQU64 (R9), Z27; \
	KXNORW K1, K1, K1; \
	KXNORW K2, K2, K2; \
	KXNORW K3, K3, K3; \
	KXNORW K4, K4, K4; \
	KXNORW K5, K5, K5; \
	VPSCATTERQQ Z10, K1, at+0(DI)(Z27*8); \
	VPSCATTERQQ Z11, K2, at+8(DI)(Z27*8); \
	VPSCATTERQQ Z12, K3, at+16(DI)(Z27*8); \
	VPSCATTERQQ Z13, K4, at+24(DI)(Z27*8); \
	VPSCATTERQQ Z14, K5, at+32(DI)(Z27*8)

// Where fill keeps what does not fit into the registers, behind the places of the
// buckets.
#define Aat 64
#define Bat 384
#define Dat 704
#define Fat 1024
#define Gat 1344
#define Eat 1664
#define Hat 1984

// func fill(to *buckets, points *affine, digits *byte, stride, count uint64)
//
// The formulas are those of "add-2008-hwcd-3" in the Explicit-Formulas Database,
// with Z2 = 1. They hold for any two points, also for equal ones and for those of
// small order.
TEXT ·fill(SB), 0, $2304-40
	MOVQ to+0(FP), DI
	MOVQ points+8(FP), SI
	MOVQ digits+16(FP), DX
	MOVQ stride+24(FP), R8
	MOVQ count+32(FP), CX
	LEAQ scratch-2304(SP), R9
	CONSTANTS

next:
	VPMOVZXBQ (DX), Z0
	VPSLLQ    $7, Z0, Z1
	VPSLLQ    $5, Z0, Z2
	VPADDQ    Z1, Z2, Z27
	VPADDQ    lanes<>(SB), Z27, Z27 // 160 numbers for a digit, 20 for a lane
	VMOVDQU64 Z27, (R9)

	GATHER(40, Z0, Z1, Z2, Z3, Z4) // Y1
	GATHER(0, Z5, Z6, Z7, Z8, Z9)  // X1
	DIFFERENCE
	STORE(Aat, R9)
	SUM
	STORE(Bat, R9)
	GATHER(80, Z0, Z1, Z2, Z3, Z4) // Z1
	VMOVDQA64 Z0, Z5
	VMOVDQA64 Z1, Z6
	VMOVDQA64 Z2, Z7
	VMOVDQA64 Z3, Z8
	VMOVDQA64 Z4, Z9
	SUM
	STORE(Dat, R9)
	GATHER(120, Z0, Z1, Z2, Z3, Z4) // T1

	SPREAD(80, SI, Z5, Z6, Z7, Z8, Z9) // 2d * T2
	PRODUCT                            // C
	MOVE(Z5, Z6, Z7, Z8, Z9)
	LOAD(Dat, R9, Z0, Z1, Z2, Z3, Z4)
	DIFFERENCE
	STORE(Fat, R9)
	SUM
	STORE(Gat, R9)

	LOAD(Aat, R9, Z0, Z1, Z2, Z3, Z4)
	SPREAD(40, SI, Z5, Z6, Z7, Z8, Z9) // Y2 - X2
	PRODUCT
	STORE(Aat, R9)
	LOAD(Bat, R9, Z0, Z1, Z2, Z3, Z4)
	SPREAD(0, SI, Z5, Z6, Z7, Z8, Z9) // Y2 + X2
	PRODUCT
	MOVE(Z0, Z1, Z2, Z3, Z4)
	LOAD(Aat, R9, Z5, Z6, Z7, Z8, Z9)
	DIFFERENCE
	STORE(Eat, R9)
	SUM
	STORE(Hat, R9)

	LOAD(Eat, R9, Z0, Z1, Z2, Z3, Z4)
	LOAD(Fat, R9, Z5, Z6, Z7, Z8, Z9)
	PRODUCT
	SCATTER(0) // X3 = E * F
	LOAD(Hat, R9, Z5, Z6, Z7, Z8, Z9)
	PRODUCT
	SCATTER(120) // T3 = E * H
	LOAD(Gat, R9, Z0, Z1, Z2, Z3, Z4)
	PRODUCT
	SCATTER(40) // Y3 = G * H
	LOAD(Fat, R9, Z5, Z6, Z7, Z8, Z9)
	PRODUCT
	SCATTER(80) // Z3 = F * G

	ADDQ $120, SI
	ADDQ R8, DX
	DECQ CX
	JNZ  next
	VZEROUPPER
	RET
