package payword

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// CheckOrigin reports what is wrong with text as the name of a vendor or of a
// broker. A name is one exact string, compared byte by byte: an ASCII https
// origin in lower case, without a default port and without a slash, such as
// "https://news.example" or "https://news.example:8443". Plain http is allowed
// for a loopback host alone, so that a machine can try things out by itself.
func CheckOrigin(text string) error {
	if len(text) > MaxOriginBytes {
		return fmt.Errorf("origin of %d bytes: at most %d", len(text), MaxOriginBytes)
	}
	secure := true
	rest, found := strings.CutPrefix(text, "https://")
	if !found {
		secure = false
		if rest, found = strings.CutPrefix(text, "http://"); !found {
			return fmt.Errorf("origin %q: want one that begins with https://", text)
		}
	}
	if strings.ContainsAny(rest, "/?#") {
		return fmt.Errorf("origin %q: leave out what follows the host and port, the slash too", text)
	}
	host, port, err := splitHostPort(rest)
	if err != nil {
		return fmt.Errorf("origin %q: %w", text, err)
	}
	if secure && port == "443" || !secure && port == "80" {
		return fmt.Errorf("origin %q: leave the default port out", text)
	}
	if !secure && !IsLoopbackHost(host) {
		return fmt.Errorf("origin %q: plain http is for loopback hosts only", text)
	}
	return nil
}

// IsLoopbackHost reports whether host (no port; IPv6 with or without brackets)
// is this machine: localhost, 127.0.0.0/8 or ::1.
func IsLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.IsLoopback()
}

// splitHostPort splits and checks "host" or "host:port".
func splitHostPort(text string) (host, port string, err error) {
	host = text
	colon := strings.LastIndexByte(text, ':')
	if colon > strings.LastIndexByte(text, ']') {
		host, port = text[:colon], text[colon+1:]
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 || port != strconv.FormatUint(number, 10) {
			return "", "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
	}
	if strings.HasPrefix(host, "[") {
		address, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
		if err != nil || host != "["+address.String()+"]" || address.Zone() != "" || address.Is4In6() {
			return "", "", fmt.Errorf("host %q is not an IPv6 address in brackets", host)
		}
		return host, port, nil
	}
	return host, port, checkHostName(host)
}

func checkHostName(host string) error {
	if host == "" || len(host) > 253 {
		return fmt.Errorf("a host name has 1 to 253 bytes")
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("host %q has an empty, overlong or misplaced label", host)
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return fmt.Errorf("host %q: want lower-case ASCII letters, digits, hyphens and dots", host)
			}
		}
	}
	if address, err := netip.ParseAddr(host); isNumber(labels[len(labels)-1]) && (err != nil || !address.Is4()) {
		return fmt.Errorf("host %q ends in a number and is not an IPv4 address", host)
	}
	return nil
}

// isNumber reports whether a browser takes a host that ends in label for an
// IPv4 address, and writes it in another way: 127.1 as 127.0.0.1.
func isNumber(label string) bool {
	digits, set := label, "0123456789"
	if hexadecimal, found := strings.CutPrefix(label, "0x"); found {
		digits, set = hexadecimal, "0123456789abcdef"
	}
	return strings.Trim(digits, set) == ""
}

// CanonicalURL returns the URL that a challenge names and a fingerprint covers:
// the vendor's origin and the request target as it was sent ("/path?query"),
// with every byte escaped that a URL does not hold bare.
func CanonicalURL(origin, requestTarget string) string {
	const upperHex = "0123456789ABCDEF"
	escaped := 0
	for k := range len(requestTarget) {
		escaped += isEscaped[requestTarget[k]]
	}
	if escaped == 0 {
		return origin + requestTarget
	}
	url := make([]byte, 0, len(origin)+len(requestTarget)+2*escaped)
	url = append(url, origin...)
	for _, c := range []byte(requestTarget) {
		if isEscaped[c] != 0 {
			url = append(url, '%', upperHex[c>>4], upperHex[c&15])
			continue
		}
		url = append(url, c)
	}
	return string(url)
}

// isEscaped is 1 for every byte that a URL does not hold bare.
var isEscaped = func() (escaped [256]int) {
	for c := range escaped {
		if c <= 0x20 || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", byte(c)) >= 0 {
			escaped[c] = 1
		}
	}
	return escaped
}()
