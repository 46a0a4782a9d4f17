package ed25519batch

import (
	"fmt"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// point is eight points in extended coordinates: x = X/Z, y = Y/Z, T = XY/Z.
type point struct{ x, y, z, t element }

// affine is one point as fill takes it: y + x, y - x and 2dxy, five limbs each.
type affine [15]uint64

var identity = point{y: one, z: one}

// add sets p to q + r, for any points (add-2008-hwcd-3).
func (p *point) add(q, r *point) {
	var a, b, c, d, s element
	subtract(&a, &q.y, &q.x)
	subtract(&s, &r.y, &r.x)
	multiply(&a, &a, &s)
	add(&b, &q.y, &q.x)
	add(&s, &r.y, &r.x)
	multiply(&b, &b, &s)
	multiply(&c, &q.t, &r.t)
	multiply(&c, &c, &twiceD)
	multiply(&d, &q.z, &r.z)
	add(&d, &d, &d)
	p.combine(&a, &b, &c, &d)
}

// combine ends an addition.
func (p *point) combine(a, b, c, d *element) {
	var e, f, g, h element
	subtract(&e, b, a)
	subtract(&f, d, c)
	add(&g, d, c)
	add(&h, b, a)
	multiply(&p.x, &e, &f)
	multiply(&p.y, &g, &h)
	multiply(&p.t, &e, &h)
	multiply(&p.z, &f, &g)
}

var twiceD = func() (e element) {
	if isUsable {
		add(&e, &curveD, &curveD)
	}
	return e
}()

// double sets p to 2 * q (dbl-2008-hwcd).
func (p *point) double(q *point) {
	var a, b, c, e, f, g, h element
	square(&a, &q.x, 1)
	square(&b, &q.y, 1)
	square(&c, &q.z, 1)
	add(&c, &c, &c)
	add(&h, &a, &b) // this is -H, and below -E, -F and -G; the signs cancel
	add(&e, &q.x, &q.y)
	square(&e, &e, 1)
	subtract(&e, &h, &e)
	subtract(&g, &a, &b)
	add(&f, &c, &g)
	multiply(&p.x, &e, &f)
	multiply(&p.y, &g, &h)
	multiply(&p.t, &e, &h)
	multiply(&p.z, &f, &g)
}

// isIdentity reports whether one of the eight points is the identity.
func (p *point) isIdentity(lane int) bool {
	var difference element
	subtract(&difference, &p.y, &p.z)
	return p.x.isZero(lane) && difference.isZero(lane)
}

// single returns one of the eight points.
func (p *point) single(lane int) (*edwards25519.Point, error) {
	var coordinates [4]*field.Element
	for k, from := range []*element{&p.x, &p.y, &p.z, &p.t} {
		encoded := from.bytes(lane)
		coordinate, err := new(field.Element).SetBytes(encoded[:])
		if err != nil {
			return nil, fmt.Errorf("coordinate %d: %w", k, err)
		}
		coordinates[k] = coordinate
	}
	return new(edwards25519.Point).SetExtendedCoordinates(coordinates[0], coordinates[1], coordinates[2], coordinates[3])
}

// isUsual reports whether bytes encode y from 2 to p-2, and so are the only
// encoding of a point, if y belongs to one. The others are points of small order
// and second spellings.
func isUsual(bytes *[32]byte) bool {
	middle, all := byte(0), byte(0xff)
	for _, b := range bytes[1:31] {
		middle |= b
		all &= b
	}
	top := bytes[31] & 0x7f
	isLow := middle == 0 && top == 0 && bytes[0] < 2
	isHigh := all == 0xff && top == 0x7f && bytes[0] > 0xeb // p ends in 0xed
	return !isLow && !isHigh
}

// decode decodes up to eight points, each isUsual, and reports whether all are
// points (RFC 8032 section 5.1.3).
func decode(points []affine, encodings [][32]byte) bool {
	var y, u, v, x, check, s element
	y = one
	for lane := range encodings {
		y.set(lane, limbs(&encodings[lane]))
	}
	square(&s, &y, 1)
	subtract(&u, &s, &one)
	multiply(&v, &s, &curveD)
	add(&v, &v, &one) // x^2 = u/v

	square(&s, &v, 1)
	multiply(&s, &s, &v)
	multiply(&x, &u, &s) // u v^3
	square(&s, &s, 1)
	multiply(&s, &s, &v)
	multiply(&s, &s, &u) // u v^7
	s.power(&s)
	multiply(&x, &x, &s)

	var plus, minus, turned, negative element
	square(&check, &x, 1)
	multiply(&check, &check, &v)
	subtract(&minus, &check, &u)
	add(&plus, &check, &u)
	multiply(&turned, &x, &rootOfMinus)
	for lane := range encodings {
		switch {
		case minus.isZero(lane):
		case plus.isZero(lane):
			x.copyLane(lane, &turned)
		default:
			return false
		}
	}
	subtract(&negative, &zero, &x)
	for lane := range encodings {
		if x.get(lane)[0]&1 != uint64(encodings[lane][31]>>7) {
			x.copyLane(lane, &negative)
		}
	}
	var t element
	multiply(&t, &x, &y)
	multiply(&t, &t, &twiceD)
	add(&plus, &y, &x)
	subtract(&minus, &y, &x)
	for lane := range points {
		for k := range 5 {
			points[lane][k], points[lane][5+k], points[lane][10+k] = plus[k][lane], minus[k][lane], t[k][lane]
		}
	}
	return true
}

func (e *element) copyLane(lane int, from *element) {
	for k := range e {
		e[k][lane] = from[k][lane]
	}
}

// decodeAll decodes any number of points.
func decodeAll(encodings [][32]byte) (points []affine, areAll bool) {
	points = make([]affine, len(encodings))
	for from := 0; from < len(points); from += lanes {
		to := min(from+lanes, len(points))
		if !decode(points[from:to], encodings[from:to]) {
			return nil, false
		}
	}
	return points, true
}

// order is L, the order of the base point, in hexadecimal.
var orderBits = func() (bits [253]bool) {
	l := [4]uint64{0x5812631a5cf5d3ed, 0x14def9dea2f79cd6, 0, 1 << 60}
	for k := range bits {
		bits[k] = l[k/64]>>(k%64)&1 == 1
	}
	return bits
}()

// isTorsionFree reports whether all eight points are of the group of the base
// point: whether L times each is the identity.
func (p *point) isTorsionFree() bool {
	product := *p
	for k := len(orderBits) - 2; k >= 0; k-- {
		product.double(&product)
		if orderBits[k] {
			product.add(&product, p)
		}
	}
	for lane := range lanes {
		if !product.isIdentity(lane) {
			return false
		}
	}
	return true
}
