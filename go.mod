module github.com/paywordhq/payword

go 1.26
