package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/paywordhq/payword"
)

// walk hashes a payword steps times: from W_i to W_(i-steps). It is the one
// thing that everything here rests on, and so it is done here.
func walk(word [sha256.Size]byte, steps uint32) [sha256.Size]byte {
	for ; steps > 0; steps-- {
		word = sha256.Sum256(word[:])
	}
	return word
}

// tail is the deepest payword of a chain that was shown.
type tail struct {
	index uint32
	word  [sha256.Size]byte
}

const tailBytes = 4 + sha256.Size

// readTails reads tails as they are stored: index (4 bytes, big endian) and
// payword, one after the other.
func readTails(stored []byte) (tails []tail, isWhole bool) {
	for ; len(stored) >= tailBytes; stored = stored[tailBytes:] {
		tails = append(tails, tail{binary.BigEndian.Uint32(stored), [sha256.Size]byte(stored[4:tailBytes])})
	}
	return tails, len(stored) == 0
}

// prove hashes from the stored tails to the roots and returns what they are
// worth, in micros. A tail that does not lead there is worth nothing.
func (a *auditor) prove(r *commitmentRow) *big.Int {
	proved := new(big.Int)
	tails, isWhole := readTails(r.tails)
	if !isWhole || len(tails) != payword.MaxChains {
		a.find(TailForged, r.id, fmt.Sprintf("%d tails were shown", payword.MaxChains), fmt.Sprintf("%d bytes are stored", len(r.tails)))
		return proved
	}
	for k, t := range tails {
		if k >= len(r.m.Chains) {
			if t != (tail{}) {
				a.find(TailForged, r.id, fmt.Sprintf("it has %d chains", len(r.m.Chains)), fmt.Sprintf("a tail of chain %d is stored", k))
			}
			continue
		}
		chain := r.m.Chains[k]
		if t.index > chain.Length {
			a.find(TailForged, r.id, fmt.Sprintf("chain %d has %d steps", k, chain.Length), fmt.Sprintf("its tail is step %d", t.index))
			continue
		}
		a.hashes.Add(int64(t.index))
		if walk(t.word, t.index) != chain.Root {
			a.find(TailForged, r.id, fmt.Sprintf("chain %d does not lead to its root from there", k), fmt.Sprintf("its tail is step %d", t.index))
			continue
		}
		worth := new(big.Int).Mul(big.NewInt(int64(t.index)), big.NewInt(int64(chain.Unit)))
		proved.Add(proved, worth)
	}
	return proved
}

// checkClaimedTails checks that the paywords of the claim itself are of the
// chains: that the stored tails, which go as deep or deeper, lead through them.
func (a *auditor) checkClaimedTails(r *commitmentRow, claim claimText) {
	tails, _ := readTails(r.tails)
	if len(claim.Tails) > len(r.m.Chains) || len(tails) < len(claim.Tails) {
		a.find(ClaimDiffers, r.id, fmt.Sprintf("the claim has %d tails", len(claim.Tails)), fmt.Sprintf("it has %d chains", len(r.m.Chains)))
		return
	}
	for k, shown := range claim.Tails {
		if shown.Index == 0 {
			continue
		}
		stored := tails[k]
		if shown.Index > stored.index || stored.index > r.m.Chains[k].Length {
			a.find(TailForged, r.id, fmt.Sprintf("the claim shows step %d of chain %d", shown.Index, k), fmt.Sprintf("its tail is step %d", stored.index))
			continue
		}
		a.hashes.Add(int64(stored.index - shown.Index))
		at := walk(stored.word, stored.index-shown.Index)
		if base64.RawURLEncoding.EncodeToString(at[:]) != shown.Payword {
			a.find(TailForged, r.id, fmt.Sprintf("the claim shows another payword as step %d of chain %d", shown.Index, k), "the tail leads elsewhere")
		}
	}
}

// claimText is what a claim says, whoever signed it.
type claimText struct {
	keyID      string
	Vendor     string `json:"iss"`
	Broker     string `json:"aud"`
	Commitment string `json:"commitment"`
	Text       string `json:"amount"`
	Amount     int64  `json:"-"` // micros
	Tails      []struct {
		Index   uint32 `json:"index"`
		Payword string `json:"payword"`
	} `json:"tails"`
}

func (c claimText) big() *big.Int { return big.NewInt(c.Amount) }

// readClaimText reads a claim without checking who signed it.
func readClaimText(token string) (claim claimText, err error) {
	parts := strings.Split(token, ".")
	if len(token) > payword.MaxClaimBytes || len(parts) != 3 {
		return claim, errors.New("it is no signed token")
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	for k, target := range []any{&header, &claim} {
		decoded, err := base64.RawURLEncoding.DecodeString(parts[k])
		if err == nil {
			err = json.Unmarshal(decoded, target)
		}
		if err != nil {
			return claim, fmt.Errorf("part %d cannot be read: %w", k+1, err)
		}
	}
	claim.keyID = header.KeyID
	if claim.Amount, err = strconv.ParseInt(claim.Text, 10, 64); err != nil {
		return claim, errors.New("its amount is no number")
	}
	return claim, nil
}
