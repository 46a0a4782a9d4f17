package clearing_test

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/money"
)

func TestStandardFee(t *testing.T) {
	cases := []struct{ gross, fee money.Amount }{
		{0, 10_000}, {1, 10_000},
		{3_333_333, 10_000}, // 9,999.999 rounded up is the minimum itself
		{3_333_334, 10_001},
		{3_400_000, 10_200},
		{10 * money.Unit, 30_000},
		{10*money.Unit + 1, 30_001}, // rounded up to a whole micro
		{money.MaxAmount, 3_000_000_000_000},
	}
	for _, c := range cases {
		got, err := clearing.StandardSchedule().Fee(c.gross)
		if err != nil || got != c.fee {
			t.Errorf("fee on %s: got %s, %v; want %s", c.gross, got, err, c.fee)
		}
	}
	if fee, err := clearing.StandardSchedule().Fee(-1); err == nil {
		t.Errorf("fee on a negative amount: got %s, want an error", fee)
	}
}

func TestSplit(t *testing.T) {
	standard := clearing.StandardSchedule()
	free := clearing.Schedule{Version: "free/1", Denominator: 1}
	cases := []struct {
		name        string
		schedule    clearing.Schedule
		currency    money.Currency
		payable     money.Amount
		fee, payout money.Amount
	}{
		{"nothing", standard, usd, 0, 0, 0},
		{"less than the fee", standard, usd, 9_999, 0, 0},
		{"the fee", standard, usd, 10_000, 0, 0},
		{"less than a cent after the fee", standard, usd, 19_999, 0, 0},
		{"a cent after the fee", standard, usd, 20_000, 10_000, 10_000},
		{"a rest", standard, usd, 29_999, 10_000, 10_000},
		{"share", standard, usd, 12_345_678, 37_038, 12_300_000},
		{"yen have no cents", standard, "jpy-micro", 1_999_999, 10_000, 1_000_000},
		{"less than a yen", standard, "jpy-micro", 1_009_999, 0, 0},
		{"dinar have thousandths", standard, "kwd-micro", 12_345_678, 37_038, 12_308_000},
		{"free", free, usd, 10_000, 0, 10_000},
		{"free and too small", free, usd, 9_999, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			fee, payout, err := clearing.Split(c.schedule, c.payable, c.currency)
			if err != nil || fee != c.fee || payout != c.payout {
				t.Errorf("got fee %s, payout %s, %v; want %s, %s", fee, payout, err, c.fee, c.payout)
			}
		})
	}
}

// A million random amounts, of every size, against arithmetic without limits.
func TestFeeAgreesWithBigIntegers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	standard := clearing.StandardSchedule()
	numerator, denominator, minimum := big.NewInt(3), big.NewInt(1000), big.NewInt(10_000)
	below := big.NewInt(999) // added before dividing, it rounds up
	want := new(big.Int)
	for range 1_000_000 {
		gross := money.Amount(random.Int64() >> random.IntN(63))
		got, err := standard.Fee(gross)
		if err != nil {
			t.Fatalf("fee on %s: %v", gross, err)
		}
		want.SetInt64(int64(gross))
		want.Mul(want, numerator).Add(want, below).Quo(want, denominator)
		if want.Cmp(minimum) < 0 {
			want.Set(minimum)
		}
		if !want.IsInt64() || want.Int64() != int64(got) {
			t.Fatalf("fee on %s: got %s, want %s", gross, got, want)
		}
		checkSplit(t, gross, got)
	}
}

// checkSplit checks that fee, payout and rest are what was payable, whatever it
// was, and that the rest is as small as it can be.
func checkSplit(t *testing.T, payable, fee money.Amount) {
	t.Helper()
	gotFee, payout, err := clearing.Split(clearing.StandardSchedule(), payable, usd)
	if err != nil {
		t.Fatal(err)
	}
	rest := payable - gotFee - payout
	switch {
	case payout == 0 && (gotFee != 0 || payable-fee >= 10_000):
		t.Fatalf("payable %s: nothing is paid, fee %s", payable, gotFee)
	case payout > 0 && (gotFee != fee || payout%10_000 != 0 || rest < 0 || rest >= 10_000):
		t.Fatalf("payable %s: got fee %s, payout %s, rest %s", payable, gotFee, payout, rest)
	}
}

func TestConfigRefuses(t *testing.T) {
	schedule := func(version string, numerator, denominator int64, minimum money.Amount) clearing.Config {
		return clearing.Config{Schedule: clearing.Schedule{Version: version, Numerator: numerator, Denominator: denominator, Minimum: minimum}}
	}
	cases := map[string]clearing.Config{
		"no version":        schedule("", 3, 1000, 0),
		"version of words":  schedule("3 percent", 3, 1000, 0),
		"no denominator":    schedule("v", 3, 0, 0),
		"negative share":    schedule("v", -3, 1000, 0),
		"more than all":     schedule("v", 1001, 1000, 0),
		"negative minimum":  schedule("v", 3, 1000, -1),
		"minimum too large": schedule("v", 3, 1000, money.MaxAmount+1),
		"run id":            {RunID: "../run"},
		"capital run id":    {RunID: "Run-1"},
		"long run id":       {RunID: "run-2026-11-22-1-and-so-on-10"},
		"period end":        {PeriodEnd: "2026-13-01"},
		"plan hash":         {ExpectPlan: "abc"},
		"holder":            {Holder: "two\nlines"},
	}
	db, _ := open(t)
	for name, config := range cases {
		if _, err := clearing.PlanRun(t.Context(), db, config); err == nil {
			t.Errorf("%s: got no error", name)
		}
		config.Directory = t.TempDir()
		if _, err := clearing.Run(t.Context(), db, config); err == nil {
			t.Errorf("%s: run: got no error", name)
		}
	}
	wantBalances(t, db, map[string]money.Amount{"broker:bank:out": 0, "broker:fees": 0})
}
