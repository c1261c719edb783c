module github.com/nuclio/nuclio-sdk-go

go 1.18
