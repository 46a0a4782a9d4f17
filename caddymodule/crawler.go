package caddymodule

import (
	"net/http"
	"strings"

	"github.com/paywordhq/payword/money"
)

// The header fields of pay per crawl, in which crawlers look for a price.
const (
	headerCrawlerPrice      = "Crawler-Price"
	headerCrawlerError      = "Crawler-Error"
	headerCrawlerExactPrice = "Crawler-Exact-Price"
	headerCrawlerMaxPrice   = "Crawler-Max-Price"
)

// The values of Handler.CrawlerPrice.
const (
	crawlerPriceOn  = "on"
	crawlerPriceOff = "off"
)

// writeCrawlerPrice names the price of the request to crawlers that do not know
// the Payment scheme: "USD 0.001". They cannot pay it here that way, so an error
// is named only where what they offered is wrong by itself. What is metered has
// no price of a request, and its ceiling is named.
func (x *exchange) writeCrawlerPrice(header http.Header) {
	if x.CrawlerPrice == crawlerPriceOff {
		return
	}
	price := x.quote.ceiling
	header.Set(headerCrawlerPrice, crawlerPrice(price, x.currency))
	exact, most := x.request.Header.Get(headerCrawlerExactPrice), x.request.Header.Get(headerCrawlerMaxPrice)
	if exact != "" && most != "" {
		return // a conflict, which is answered 400 where it is understood
	}
	if offered, valid := parseCrawlerPrice(exact, x.currency); valid && offered != price {
		header.Set(headerCrawlerError, "InvalidCrawlerExactPrice")
	}
	if offered, valid := parseCrawlerPrice(most, x.currency); valid && offered < price {
		header.Set(headerCrawlerError, "InvalidCrawlerMaxPrice")
	}
}

// crawlerPrice writes an amount as pay per crawl has it.
func crawlerPrice(amount money.Amount, currency money.Currency) string {
	return currency.Code() + " " + amount.Decimal()
}

// maxCrawlerPriceBytes bounds what is read of a price that a crawler offers: a
// currency code and the longest amount take 20.
const maxCrawlerPriceBytes = 32

// parseCrawlerPrice reads a price in the site's currency.
func parseCrawlerPrice(text string, currency money.Currency) (money.Amount, bool) {
	code, number, found := strings.Cut(text, " ")
	if !found || len(text) > maxCrawlerPriceBytes || code != currency.Code() {
		return 0, false
	}
	amount, err := money.ParseDecimal(number)
	return amount, err == nil
}
