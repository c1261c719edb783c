# Totals of a CSV of sales: curl --data-binary @sales.csv 'http://127.0.0.1:8080/'
#
# Columns product, count, price, in any order, quoted or not. Lines that make no sense are named with
# their numbers, and none of them is counted.

require 'bigdecimal'
require 'csv'

COLUMNS = %w[product count price].freeze
# Who sends thousands of wrong lines learns nothing from the rest.
WRONG_MAX = 20

def handler(context, event)
  table = CSV.parse(event.body.force_encoding('UTF-8').delete_prefix("\uFEFF"), headers: true)
  missing = COLUMNS - table.headers.compact
  return context.reject("no column #{missing.join(', ')}") unless missing.empty?

  totals = Hash.new(0)
  wrong = []
  table.each_with_index do |row, index|
    sum = sum_of(row)
    sum ? totals[row['product']] += sum : wrong << index + 2
  end
  context.logger.info_with('counted', lines: table.size, wrong: wrong.size)
  totals = totals.sort_by { |product, sum| [-sum, product] }
  { totals: totals.to_h { |product, sum| [product, sum.to_s('F')] }, wrong_lines: wrong.first(WRONG_MAX) }
rescue CSV::MalformedCSVError => e
  context.reject(e.message)
end

def sum_of(row)
  return if row['product'].to_s.empty?

  Integer(row['count'], 10) * BigDecimal(row['price'])
rescue ArgumentError, TypeError
  nil
end
