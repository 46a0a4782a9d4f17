package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
)

// demoCaddyfile is the site: its articles, an API, and a page of sixty pictures,
// which are paid for one by one.
const demoCaddyfile = `{
	admin %s
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	log {
		format payword json
	}
	payword {
		broker %s
		store %s
		claim_delay 0s
		redeem_interval 0
	}
}

%s {
	root * %s
	@paid path /articles/* /api/* /tokens/*
	payword @paid %s %s USD {
		price 0.0005 USD /api/*
		price 0.0001 USD /tokens/*
	}
	@token path_regexp token ^/tokens/(0[1-9]|[1-5][0-9]|60)\.svg$
	handle @token {
		header Content-Type image/svg+xml
		respond <<SVG
			<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">
			<circle cx="32" cy="32" r="29" fill="#c98f5a" stroke="#5c3a17" stroke-width="3"/>
			<path d="M30 3h4v58h-4z" fill="#5c3a17" opacity=".35"/>
			<text x="32" y="39" text-anchor="middle" font-family="serif" font-size="20" fill="#2a1806">{re.token.1}</text>
			</svg>
			SVG 200
	}
	handle {
		file_server
	}
}
`

// demoVoucher is what the voucher is worth that serve shows, in the broker's
// currency.
const demoVoucher = "1.00"

// serve keeps everything running until the user has seen enough.
func (d *demo) serve(ctx context.Context) error {
	header, err := d.preparedPayment(ctx)
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	code, err := d.voucher(ctx)
	if err != nil {
		return err
	}
	d.wallet.Close() // the command below needs the file
	article := d.siteURL + "/articles/hash-chain.html"
	d.title("Everything keeps running. Stop it with Ctrl-C.")
	d.say("the site              %s/", d.siteURL)
	d.say("sixty paid pictures   %s/tokens.html", d.siteURL)
	d.say("a paid API            %s/api/contents.json", d.siteURL)
	d.say("what the broker does  %s/openapi.json", d.brokerOrigin)
	d.say("the gate's own word   %s%s", d.siteURL, payword.PathDiscovery)
	d.say("files and logs        %s", d.directory)
	d.say("")
	d.say("ask for an article without paying:")
	d.say("  curl -i %s", article)
	d.say("pay for it, with a payword released for this:")
	d.say("  curl -i -H '%s: %s' %s", payword.HeaderPayword, header, article)
	d.say("let the wallet pay:")
	d.say("  %s pay %s --wallet %s", filepath.ToSlash(executable), article, d.path("wallet.json"))
	d.say("")
	d.say("pay with the browser extension, which 'npm run build' in client-js makes:")
	d.say("  load dist/extension/chromium, or firefox, from the browser's page of extensions,")
	d.say("  make a wallet in it with the broker  %s", d.brokerOrigin)
	d.say("  redeem the voucher, %s USD        %s", demoVoucher, code)
	d.say("  and open the site, the sixty pictures, or an article")
	d.say("pay from a program of yours, by a fetch that pays (docs/client-js.md):")
	d.say("  await payFetch({ payer: wallet, budget })('%s/api/contents.json')", d.siteURL)
	d.say("more vouchers:")
	d.say("  %s broker voucher --db %s --id more --count 1 --amount %s", filepath.ToSlash(executable), d.path("broker.db"), demoVoucher)
	<-ctx.Done()
	return nil
}

// voucher has the broker's operator make a voucher and returns its code.
func (d *demo) voucher(ctx context.Context) (string, error) {
	var stdout, stderr bytes.Buffer
	status := broker.Main(ctx, []string{
		"voucher", "--db", d.path("broker.db"), "--id", "demo", "--count", "1", "--amount", demoVoucher,
	}, nil, &stdout, &stderr)
	if status != 0 {
		return "", fmt.Errorf("making a voucher: %s", strings.TrimSpace(stderr.String()))
	}
	lines := strings.Fields(stdout.String())
	if len(lines) == 0 {
		return "", fmt.Errorf("making a voucher: no code was printed")
	}
	return lines[len(lines)-1], nil
}
