package purse_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

func purseDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "purse.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The page has every command, and the lengths that the package has.
func TestDocumentListsTheCommands(t *testing.T) {
	text := purseDocument(t)
	for _, c := range []struct {
		instruction purse.Instruction
		p1, p2      byte
		lengths     []int
	}{
		{purse.Verify, 0, 0x80, nil}, {purse.GetData, 0, 0, []int{purse.CardDataLength}}, {purse.GetData, 1, 0, []int{purse.ScriptStateLength}},
		{purse.StartPay, 0, 0, []int{purse.OpeningLength, purse.StartLength}}, {purse.Debit, 0, 0, []int{purse.DebitLength, purse.PaidLength}},
		{purse.CancelLast, 0, 0, []int{purse.CancelOrderLength, purse.CancelledLength}}, {purse.Recover, 0, 0, []int{purse.RecoverLength, purse.DeniedLength}},
		{purse.InitLoad, 0, 0, []int{purse.LoadRequestLength, purse.LoadAnswerLength}}, {purse.Credit, 0, 0, []int{purse.CreditLength, purse.ReceiptLength}},
		{purse.LoadStatus, 0, 0, []int{purse.StatusLength}}, {purse.InitPay, 0, 0, []int{purse.OpeningLength}}, {purse.InitCancel, 0, 0, nil},
		{purse.Authorize, 0, 0, []int{purse.StartLength, purse.DebitLength, purse.CancelOrderLength}},
		{purse.Commit, 0, 0, []int{purse.PaidLength, purse.CancelledLength}}, {purse.VoidPay, 0, 0, []int{purse.VoidLength}}, {purse.GetRecord, 0, 0, nil},
		{purse.CloseBatch, 0, 0, []int{purse.TotalLength}}, {purse.AckBatch, 0, 0, nil},
	} {
		head := fmt.Sprintf("`%X`", purse.Command(c.instruction, c.p1, c.p2, []byte{1})[:4])
		isListed := false
		for _, line := range strings.Split(text, "\n") {
			if !strings.HasPrefix(line, "| ") || !strings.Contains(line, head) {
				continue
			}
			found := true
			for _, length := range c.lengths {
				found = found && regexp.MustCompile(fmt.Sprintf(`\(%d[ );,]`, length)).MatchString(line)
			}
			isListed = isListed || found
		}
		if !isListed {
			t.Errorf("docs/purse.md has no row with %s and the lengths %v", head, c.lengths)
		}
	}
	for _, length := range []int{purse.PaymentLength, purse.VoidLength, purse.CancellationRecordLength, purse.TotalLength} {
		if !strings.Contains(text, fmt.Sprintf("| %d |", length)) {
			t.Errorf("docs/purse.md has no layout of %d bytes", length)
		}
	}
	for _, aid := range []string{purse.CardAID, purse.SAMAID} {
		if !strings.Contains(text, purse.AID(aid)) {
			t.Errorf("docs/purse.md does not name AID %s", purse.AID(aid))
		}
	}
}

// The example of the page is the DEBIT of the published trace.
func TestDocumentShowsTheTrace(t *testing.T) {
	_, rest, _ := strings.Cut(purseDocument(t), "\n## An example\n")
	_, rest, _ = strings.Cut(rest, "```\n")
	block, _, _ := strings.Cut(rest, "```")
	var shown []byte
	for _, line := range strings.Split(block, "\n") {
		digits, _, _ := strings.Cut(line, "  ")
		shown = append(shown, unhex(t, strings.ReplaceAll(digits, " ", ""))...)
	}
	for _, v := range readVectors(t) {
		if v.Name != "trace" {
			continue
		}
		for _, exchange := range v.Input.Exchanges {
			if exchange.Command[1] == byte(purse.Debit) && !bytes.Equal(shown, join(exchange.Command, exchange.Answer)) {
				t.Errorf("docs/purse.md shows\n%X\nand the trace has\n%X", shown, join(exchange.Command, exchange.Answer))
			}
		}
		return
	}
	t.Error("there is no trace")
}
