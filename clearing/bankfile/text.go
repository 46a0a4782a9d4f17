package bankfile

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// NotProvided stands where a file must have a text and there is none: the word
// of the SEPA guidelines for it.
const NotProvided = "NOTPROVIDED"

// Latin writes a text in the letters that every bank of SEPA takes (EPC217-08:
// a-z A-Z 0-9 / - ? : ( ) . , ' + and space), in at most longest of them.
//
// Letters with marks lose them, but for ä ö ü, which become ae oe ue; ß becomes
// ss, Greek and Cyrillic letters what they are commonly written as, & becomes +,
// @ becomes (at), _ and dashes become -, quotes become '. Control characters
// and spaces become a space, several of them one. What changes a text without
// being seen is left out. Every other run of characters becomes one full stop.
// A text of which no letter and no digit is left becomes NotProvided: banks
// refuse a file with an empty name.
func Latin(text string, longest int) string {
	w := latinWriter{longest: longest}
	for _, c := range norm.NFC.String(text[:min(len(text), longest*maxInputBytes)]) {
		if w.full() {
			break
		}
		w.write(c)
	}
	if latin := strings.Trim(w.text.String(), " "); strings.ContainsFunc(latin, isLetterOrDigit) {
		return latin
	}
	return NotProvided[:min(longest, len(NotProvided))]
}

// maxInputBytes is how much of a text is looked at for each character that is
// wanted: enough for letters of four bytes with a mark or two among them.
const maxInputBytes = 16

type latinWriter struct {
	text    strings.Builder
	longest int
	last    rune // that was written; 0 after nothing
	unknown bool // the last one stands for an unknown one
}

func (w *latinWriter) full() bool { return w.text.Len() >= w.longest }

// write adds what a character becomes.
func (w *latinWriter) write(c rune) {
	switch latin, known := latinOf(c); {
	case unicode.IsSpace(c) || unicode.IsControl(c):
		if w.last != ' ' && w.last != 0 {
			w.add(" ")
		}
	case known:
		w.add(latin)
	case unicode.Is(unicode.M, c) || unicode.Is(unicode.Cf, c) || w.unknown: // not to be seen, or seen already
	default:
		w.add(".")
		w.unknown = true
	}
}

// add adds as much of a text as there is room for.
func (w *latinWriter) add(latin string) {
	for _, c := range latin {
		if w.full() {
			return
		}
		w.text.WriteRune(c)
		w.last, w.unknown = c, false
	}
}

// latinOf returns what a character is written as, and whether that is known.
func latinOf(c rune) (string, bool) {
	if isLatin(c) {
		return string(c), true
	}
	if latin, known := transliterations[unicode.ToLower(c)]; known {
		if unicode.IsUpper(c) && latin != "" {
			latin = strings.ToUpper(latin[:1]) + latin[1:]
		}
		return latin, true
	}
	// A letter with marks, a ligature, or a letter of full width.
	var latin strings.Builder
	for _, part := range norm.NFKD.String(string(c)) {
		switch known, isKnown := transliterations[unicode.ToLower(part)]; {
		case isLatin(part):
			latin.WriteRune(part)
		case isKnown && unicode.IsUpper(part) && known != "":
			latin.WriteString(strings.ToUpper(known[:1]) + known[1:])
		case isKnown:
			latin.WriteString(known)
		case !unicode.Is(unicode.M, part):
			return "", false
		}
	}
	return latin.String(), latin.Len() > 0
}

func isLatin(c rune) bool { return isLetterOrDigit(c) || strings.ContainsRune("/-?:().,'+ ", c) }

func isLetterOrDigit(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// transliterations are what characters are written as that are more than a
// letter with a mark. A capital letter becomes the same with a capital first.
var transliterations = map[rune]string{
	'ä': "ae", 'ö': "oe", 'ü': "ue", 'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'å': "a", 'þ': "th", 'ð': "d", 'đ': "d",
	'ł': "l", 'ħ': "h", 'ı': "i", 'ŋ': "n", 'ŧ': "t", 'ĸ': "k",

	'α': "a", 'β': "v", 'γ': "g", 'δ': "d", 'ε': "e", 'ζ': "z", 'η': "i", 'θ': "th", 'ι': "i", 'κ': "k", 'λ': "l", 'μ': "m",
	'ν': "n", 'ξ': "x", 'ο': "o", 'π': "p", 'ρ': "r", 'σ': "s", 'ς': "s", 'τ': "t", 'υ': "y", 'φ': "f", 'χ': "ch", 'ψ': "ps", 'ω': "o",

	'а': "a", 'б': "b", 'в': "v", 'г': "g", 'д': "d", 'е': "e", 'ж': "zh", 'з': "z", 'и': "i", 'й': "y", 'к': "k", 'л': "l",
	'м': "m", 'н': "n", 'о': "o", 'п': "p", 'р': "r", 'с': "s", 'т': "t", 'у': "u", 'ф': "f", 'х': "h", 'ц': "ts", 'ч': "ch",
	'ш': "sh", 'щ': "sht", 'ъ': "a", 'ь': "y", 'ю': "yu", 'я': "ya", 'ы': "y", 'э': "e", 'ё': "e", 'і': "i", 'ї': "yi", 'є': "ye", 'ґ': "g",
	'ђ': "dj", 'ј': "j", 'љ': "lj", 'њ': "nj", 'ћ': "c", 'џ': "dz", 'ѓ': "g", 'ѕ': "dz", 'ќ': "k",

	'&': "+", '@': "(at)", '_': "-", '"': "'", '`': "'", '´': "'", '‘': "'", '’': "'", '‚': "'", '“': "'", '”': "'", '„': "'",
	'«': "'", '»': "'", '‹': "'", '›': "'", '–': "-", '—': "-", '‑': "-", '‐': "-", '−': "-", ';': ",", '!': ".", '[': "(", ']': ")",
	'{': "(", '}': ")", '<': "(", '>': ")", '\\': "/", '|': "/", '*': ".", '#': ".", '%': ".", '=': ".", '~': "-", '^': ".", '€': "EUR", '$': "USD", '£': "GBP",
}
