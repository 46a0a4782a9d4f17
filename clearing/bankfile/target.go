package bankfile

import "time"

// BusinessDay returns the nth day after a day on which TARGET, the system
// between the banks of the euro, settles: not on Saturdays, Sundays, New Year,
// Good Friday, Easter Monday, 1 May, 25 and 26 December. The day is that of UTC;
// n is at least 1.
func BusinessDay(after time.Time, n int) time.Time {
	year, month, day := after.UTC().Date()
	next := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	for ; n > 0; n-- {
		next = next.AddDate(0, 0, 1)
		for !isBusinessDay(next) {
			next = next.AddDate(0, 0, 1)
		}
	}
	return next
}

func isBusinessDay(day time.Time) bool {
	if weekday := day.Weekday(); weekday == time.Saturday || weekday == time.Sunday {
		return false
	}
	switch day.Format("01-02") {
	case "01-01", "05-01", "12-25", "12-26":
		return false
	}
	easter := easterSunday(day.Year())
	return !day.Equal(easter.AddDate(0, 0, -2)) && !day.Equal(easter.AddDate(0, 0, 1))
}

// easterSunday is by the rule of the Gregorian calendar (Meeus, Jones and
// Butcher), with the letters of its usual form.
func easterSunday(year int) time.Time {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return time.Date(year, time.Month(n/31), n%31+1, 0, 0, 0, 0, time.UTC)
}
